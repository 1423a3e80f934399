//! Home of the runnable services; see the `[[example]]`s of this package.
