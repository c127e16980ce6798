//! Discovery from mirrors, in the layouts that distributions have: small ones made here, and the one that this
//! machine's apt uses.

mod answers;
mod arch;
mod archive;
mod debian;
mod flatcar;
mod repositories;
mod signatures;
mod ubuntu;
mod usual;
mod variants;
