//! A run from its settings: toolchains, the executor, reporters, signals, the end.

mod annotations;
mod carry_out;
mod toolchains;

pub use annotations::Annotations;
pub use carry_out::{Recorder, Session, new_run_id};
pub use toolchains::{
    all_compilers, ask_repositories, builder_images, check_images, compilers_of, infrastructure,
    of_remembered, of_sources,
};
