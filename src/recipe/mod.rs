//! The steps of building Falco's driver: kernels, drivers, their checks, and the artifacts built from them. Each part
//! owns its memos and runs its steps with the [`engine`](crate::engine).

pub(crate) mod artifacts;
mod builder_images;
pub(crate) mod checks;
pub(crate) mod double;
pub(crate) mod downloads;
pub(crate) mod driver;
pub(crate) mod files;
pub(crate) mod kernel;
pub(crate) mod proof;
pub(crate) mod signing;
pub(crate) mod toolchain;
mod toolchains;

pub use builder_images::{BuilderImages, Refusal};
pub use driver::renew_sources;
pub use kernel::packages::was_unpacked;
pub(crate) use proof::image_request;
pub use toolchains::Toolchains;
