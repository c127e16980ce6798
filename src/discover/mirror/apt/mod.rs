//! Archives of apt: Debian's and Ubuntu's.
//!
//! An index is believed only with the digest that the suite's `Release` file gives for it; that file only with a
//! signature of the keyring, where one is given.

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
