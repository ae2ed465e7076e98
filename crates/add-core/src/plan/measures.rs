//! What can be done about memory, and what each measure changes.

/// What is assumed of a run beside its recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// What the student's tape keeps.
    pub tape: Tape,
    /// How fakes are decoded where a gradient flows.
    pub decoder: Decoder,
    /// Bytes of a value of the frozen networks.
    pub frozen_bytes: f64,
    /// Bytes of a value on a tape.
    pub tape_bytes: f64,
    /// Where the running average lies.
    pub average: Average,
    /// What is trained of the student.
    pub trained: Trained,
}

/// What the student's tape keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tape {
    /// Every layer's input.
    Layers,
    /// The input of every residual block and transformer; the rest is computed again.
    Blocks,
}

/// How fakes are decoded where a gradient flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// Whole pictures.
    Whole,
    /// A crop of half the side.
    Crop,
}

/// Where the running average lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Beside the student.
    Device,
    /// In the computer's memory.
    Host,
}

/// What is trained of the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// All of it.
    Everything,
    /// Adapters of this rank beside the maps of its attention.
    Adapters(usize),
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            tape: Tape::Layers,
            decoder: Decoder::Whole,
            frozen_bytes: 4.0,
            tape_bytes: 4.0,
            average: Average::Device,
            trained: Trained::Everything,
        }
    }
}

/// Rank of the adapters in [`ladder`].
const RANK: usize = 64;

/// The measures one after the other, each on top of those before, by name.
pub fn ladder() -> Vec<(&'static str, Measures)> {
    let none = Measures::default();
    let blocks = Measures { tape: Tape::Blocks, ..none };
    let crop = Measures { decoder: Decoder::Crop, ..blocks };
    let frozen = Measures { frozen_bytes: 2.0, ..crop };
    let host = Measures { average: Average::Host, ..frozen };
    let half = Measures { tape_bytes: 2.0, ..host };
    let adapters = Measures { trained: Trained::Adapters(RANK), ..half };
    vec![
        ("everything in f32 on the device", none),
        ("+ block checkpointing of the student", blocks),
        ("+ decoding a crop of half the side", crop),
        ("+ frozen networks in bf16", frozen),
        ("+ the average on the host", host),
        ("+ tapes in bf16", half),
        ("+ LoRA of rank 64 on attention", adapters),
    ]
}

/// Parameters that adapters of rank one add to the maps of a network's attention.
pub(super) fn adapters(shapes: &[(String, Vec<usize>)]) -> f64 {
    let maps = ["to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight"];
    let of = |(path, shape): &(String, Vec<usize>)| {
        let is_map = shape.len() == 2 && maps.iter().any(|name| path.ends_with(name));
        if is_map { shape.iter().sum::<usize>() as f64 } else { 0.0 }
    };
    shapes.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_of_rank_one_have_a_row_and_a_column_for_each_map() {
        let shapes = [
            ("a.to_k.weight".to_owned(), vec![320, 768]),
            ("a.to_out.0.weight".to_owned(), vec![320, 320]),
            ("a.to_out.0.bias".to_owned(), vec![320]),
        ];
        assert!((adapters(&shapes) - (1088.0 + 640.0)).abs() < 1e-9);
    }
}
