//! Tests of discovery from mirrors: small mirrors in the layouts of the distributions.

mod answers;
mod arch;
mod debian;
mod flatcar;
mod ubuntu;
mod usual;
mod variants;
