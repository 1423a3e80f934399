//! Minting, rotation and revocation over a store.

mod changes;
pub(crate) mod error;
pub(crate) mod issuer;
mod leaked;
mod owners;
#[cfg(test)]
mod tests;
mod within;

pub use self::{
    error::IssuerError,
    issuer::{Issued, Issuer},
    leaked::LeakedKey,
};
