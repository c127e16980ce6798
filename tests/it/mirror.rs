//! Discovery from mirrors, in the layouts that distributions have: small ones made here.

mod answers;
mod arch;
mod debian;
mod flatcar;
mod ubuntu;
mod usual;
mod variants;
