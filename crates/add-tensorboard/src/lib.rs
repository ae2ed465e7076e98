//! TensorBoard's event files (`events.out.tfevents.*`): scalars, pictures and texts, written and read back.
//!
//! A file is a sequence of records ([`write_record`], [`Records`]); each record holds an [`Event`] as a protobuf message.
//! Only the few fields that TensorBoard needs are written, so no protobuf compiler takes part in the build; a reader
//! passes over fields that it does not know, as every protobuf reader does. Sources: `tensorflow/core/lib/io/record_writer.cc` and
//! `tensorboard/compat/proto/{event,summary,tensor}.proto`.

mod event;
mod record;
mod wire;

pub use event::{Content, Event, Value, What};
pub use record::{Records, write_record};
