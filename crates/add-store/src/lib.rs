//! Files wherever they lie, and the samples inside of tar shards.
//!
//! A [`Store`] is a folder of this machine, a prefix of a bucket or a folder of a web server, through `object_store`,
//! which brings retries and timeouts. A [`ShardIndex`] knows where the samples of a tar file lie, so that any of them is
//! one range request away; nothing is unpacked but a shard that is packed with gzip.

mod braces;
mod error;
mod group;
mod listing;
mod local;
mod members;
mod place;
mod select;
mod shard;
mod store;
#[cfg(test)]
mod testing;
mod unpack;
mod walk;
mod window;

pub use error::StoreError;
pub use group::{Extent, TarSample, Wanted};
pub use listing::{Listing, PassedOver};
pub use place::Place;
pub use select::Stores;
pub use shard::ShardIndex;
pub use store::{Stat, Store};
