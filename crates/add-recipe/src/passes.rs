//! What one step of a method does with its networks, for `plan` to multiply by what a pass of each costs.

use add_train::networks::Role;

/// The passes of a step for one sample, and the moments at which most is held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passes {
    /// The passes that are computed.
    pub work: Vec<Pass>,
    /// Memory: each moment that may be the fullest. The backward passes of trained denoisers are added by the plan.
    pub moments: Vec<Moment>,
}

/// Passes of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// Their name in tables, such as `decoder for the heads`.
    pub name: &'static str,
    /// The network.
    pub role: Role,
    /// The part of it that computes.
    pub part: NetworkPart,
    /// How often, in forward passes.
    pub count: Count,
    /// Whether a tape is kept, so that block checkpointing computes once more.
    pub taped: bool,
    /// Which share of a picture it computes.
    pub share: Share,
}

impl Pass {
    /// Passes of the whole network (of a codec: its decoder) under a tape.
    pub fn taped(name: &'static str, role: Role, count: Count) -> Self {
        Self { name, role, part: NetworkPart::Whole, count, taped: true, share: Share::Whole }
    }

    /// Passes without a tape.
    pub fn plain(name: &'static str, role: Role, times: f64) -> Self {
        Self { taped: false, ..Self::taped(name, role, Count::Times(times)) }
    }

    /// One pass of a codec's encoder.
    pub fn encoder(name: &'static str, role: Role) -> Self {
        Self { part: NetworkPart::Encoder, ..Self::plain(name, role, 1.0) }
    }
}

/// How often a network computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    /// So many forward passes; a backward pass of a frozen network counts one, of a trained one two.
    Times(f64),
    /// One forward and one backward pass: three where the network's values are trained, two where the gradient only goes
    /// through.
    ThereAndBack,
}

/// The part of a network that computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkPart {
    /// All of it; of a codec, its decoder.
    Whole,
    /// A codec's encoder.
    Encoder,
}

/// Which share of a picture is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// All of it.
    Whole,
    /// What the distillation distance is taken on: a crop, perhaps, which `plan` may propose to make smaller.
    OfDistance(f64),
}

/// A moment of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moment {
    /// The tapes that live then.
    pub tapes: Vec<Tape>,
    /// Networks that compute without a tape then, or whose widest layer is at work, and how many samples of each for one of
    /// the batch.
    pub wide: Vec<(Role, f64)>,
    /// Feature networks whose hooked features are held then.
    pub hooked: Vec<Role>,
    /// Networks whose gradients are there already.
    pub gradients: Vec<Role>,
}

/// A tape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tape {
    /// Its name in tables.
    pub name: &'static str,
    /// The network whose pass it records.
    pub role: Role,
    /// How many passes' tapes live together.
    pub copies: f64,
    /// Which share of a picture it records.
    pub share: Share,
}

impl Tape {
    /// The tape of one pass over whole pictures.
    pub fn of(name: &'static str, role: Role) -> Self {
        Self { name, role, copies: 1.0, share: Share::Whole }
    }
}
