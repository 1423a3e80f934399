//! Timestamps and clocks. The only room that reads a clock; everything else takes `now` as an
//! argument.

pub(crate) mod manual;
pub(crate) mod source;
pub(crate) mod system;
pub(crate) mod timer;
pub(crate) mod timestamp;

pub use self::{
    manual::ManualClock, source::Clock, system::SystemClock, timer::Timer, timestamp::Timestamp,
};
