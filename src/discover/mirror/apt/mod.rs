//! Archives of apt: Debian's and Ubuntu's.
//!
//! An index is accepted only if it has the digest that the suite's `Release` file lists. If a keyring is given, the
//! `Release` file is accepted only with a signature by one of its keys.

mod archive;
mod debian;
mod index;
mod kernels;
mod question;
mod signature;
mod ubuntu;

pub use debian::discover as discover_debian;
pub use kernels::{MirrorKernel, MirrorKernels, newest};
pub use question::Question;
pub use ubuntu::discover as discover_ubuntu;
