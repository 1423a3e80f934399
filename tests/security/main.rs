//! Access decisions, and where a key must never appear.

mod access_matrix;
mod leaks;
