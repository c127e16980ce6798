//! A run from its settings: toolchains, the executor, reporters, signals and the end of the run.

mod annotations;
mod carry_out;
mod existence;
mod needs;
mod recorder;
mod shared_store;
mod single;
mod toolchains;

pub use annotations::Annotations;
pub use carry_out::{Session, new_run_id};
pub use existence::{CheckedFile, CheckedFiles, check_files};
pub use needs::{Archived, Gathered, archive, fetch_all, out_of_reach, places};
pub use recorder::Recorder;
pub use shared_store::{OpenStore, StoreRequest, Told, new_runtime, of_bucket, of_remote};
pub use single::{
    Attempt, DkmsDirectories, Machine, Single, SingleSettings, build_with_dkms, installed_headers,
};
pub use toolchains::{
    all_compilers, ask_repositories, builder_images, check_images, compilers_of, infrastructure,
    of_remembered, of_sources,
};
