//! The quick start of the README, compiled. The examples of this package stand beside this file.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
