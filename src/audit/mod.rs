//! Typed events for the log of the host, and stores that keep them.

mod action;
pub(crate) mod action_name;
mod callback;
pub(crate) mod detail;
pub(crate) mod entry;
mod event;
pub(crate) mod memory;
mod queue;
mod recorder;
pub(crate) mod store;

pub use self::{
    action::AuditAction,
    action_name::ActionName,
    callback::Audit,
    detail::AuditDetail,
    entry::AuditEntry,
    event::AuditEvent,
    memory::MemoryAuditStore,
    recorder::{AuditRecorder, RecorderReport},
    store::{AuditCursor, AuditFilter, AuditPage, AuditStore, DamagedEntry},
};
