//! A run from its settings: toolchains, the executor, reporters, signals, the end.

mod annotations;
mod carry_out;
mod needs;
mod single;
mod toolchains;

pub use annotations::Annotations;
pub use carry_out::{Recorder, Session, new_run_id};
pub use needs::{Gathered, fetch_all, out_of_reach};
pub use single::{
    Attempt, DkmsDirectories, Machine, Single, SingleSettings, build_with_dkms, installed_headers,
};
pub use toolchains::{
    all_compilers, ask_repositories, builder_images, check_images, compilers_of, infrastructure,
    of_remembered, of_sources,
};
