//! An object store behind one type: `s3://`, `gs://`, `az://`, or a directory as `file://`.
//!
//! Used by the remote store, by destinations of publishing, and by the Kubernetes executor. The crate `object_store`
//! signs requests, renews credentials and retries transient errors (429, 5xx, lost connections); this module adds
//! names below a prefix, traffic counts, and errors with advice. No message contains a credential.

mod acl;
mod error;
mod objects;
mod open;
mod traffic;
mod url;

pub use acl::{Acl, ParseAclError};
pub use error::{BucketError, BucketFault};
pub use object_store::{Attribute, Attributes, PutMode, PutOptions, UpdateVersion};
pub use objects::{Object, Put};
pub use open::{Bucket, BucketSettings};
pub use traffic::TrafficCount;
pub use url::{BucketKind, BucketUrl};
