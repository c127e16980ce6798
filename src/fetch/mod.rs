//! Downloads: from URLs to files in the store, each fetched once.
//!
//! In: a [`Request`] with the URLs of one file, in the order in which they are tried, and what is
//! known about its content. Out: the file in the store, and its digest. A [`FetchError`] lists the
//! answer of every URL that did not return the wanted file.
//!
//! This module does not parse files beyond a check of their kind, and does not request a file that
//! the store already has.

mod activity;
mod address;
mod answers;
mod body;
mod bundle;
mod content;
mod download;
mod error;
mod fetcher;
mod host;
mod known;
mod local;
mod mirrors;
mod probe;
mod read;
mod record;
mod refuse;
mod renew;
mod settings;
mod single_flight;

pub use activity::{Activity, Asking, Wait};
pub use answers::{KnownAnswers, NotedAnswer};
pub use bundle::{BundleError, BundleSize, import};
pub use content::ContentKind;
pub use error::{Answer, FetchError, Tried};
pub use fetcher::{Fetched, Fetcher, Request, make_client};
pub use mirrors::{MirrorRule, Mirrors};
pub use probe::{Existence, Probed};
pub use record::wrong_records;
pub use renew::Renewed;
pub use settings::Settings;
pub use single_flight::SingleFlight;
