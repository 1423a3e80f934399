//! Compiles the quick start of the README. The examples of this package are in the same directory.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
