//! What a job writes: too much, over the answers of others, while the disk fills.
