//! What can be done about memory, and what each measure changes.

/// What is assumed of a run beside its recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// What the tapes of student, decoder and feature network keep.
    pub tape: KeptStates,
    /// What is decoded for the distillation loss.
    pub decoder: Decoder,
    /// What the frozen networks are held in.
    pub frozen: Types,
    /// What a tape keeps, but for the heads'.
    pub tapes: Types,
    /// Where the running average lies.
    pub average: Average,
    /// Who keeps the optimisers' states where several GPUs share the batch.
    pub states: States,
    /// What is trained of the student.
    pub trained: Trained,
}

/// What a tape keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptStates {
    /// What the recipe says.
    AsStated,
    /// The input of every residual block and transformer; the rest is computed again.
    Blocks,
}

/// What is decoded for the distillation loss; the discriminator sees whole pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// What the recipe says.
    AsStated,
    /// A crop of half the side, by the recipe's codec.
    Crop,
}

/// The types of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// What the recipe says.
    AsStated,
    /// bf16 everywhere.
    Bf16,
}

/// Where the running average lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// What the recipe says.
    AsStated,
    /// In the computer's memory.
    Host,
}

/// Who keeps the moments and averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// What the recipe says.
    AsStated,
    /// Each rank keeps its share.
    Sharded,
}

/// What is trained of the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// What the recipe says.
    AsStated,
    /// Adapters of this rank beside the maps of its attention.
    Adapters(usize),
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            tape: KeptStates::AsStated,
            decoder: Decoder::AsStated,
            frozen: Types::AsStated,
            tapes: Types::AsStated,
            average: Average::AsStated,
            states: States::AsStated,
            trained: Trained::AsStated,
        }
    }
}

/// Rank of the adapters in [`ladder`].
const RANK: usize = 64;

/// The measures for each of `gpus` one after the other, each on top of those before, by name.
pub fn ladder(gpus: usize) -> Vec<(&'static str, Measures)> {
    let none = Measures::default();
    let blocks = Measures { tape: KeptStates::Blocks, ..none };
    let crop = Measures { decoder: Decoder::Crop, ..blocks };
    let frozen = Measures { frozen: Types::Bf16, ..crop };
    let host = Measures { average: Average::Host, ..frozen };
    let half = Measures { tapes: Types::Bf16, ..host };
    let sharded = Measures { states: States::Sharded, ..half };
    let adapters = Measures { trained: Trained::Adapters(RANK), ..sharded };
    let mut all = vec![
        ("as the recipe says", none),
        ("+ block checkpointing everywhere", blocks),
        ("+ distance on a crop of half the side", crop),
        ("+ frozen networks in bf16", frozen),
        ("+ the average on the host", host),
        ("+ tapes in bf16", half),
        ("+ moments and average shared by the GPUs", sharded),
        ("+ LoRA of rank 64 on attention", adapters),
    ];
    all.retain(|(_, measures)| gpus > 1 || *measures != sharded);
    all
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
