//! The sizes of a convolution, checked once.

use super::{
    ConvGeometry,
    winograd::{pays, winograd_is_allowed},
};

/// All sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) samples: usize,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) groups: usize,
    pub(super) input: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) window: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
}

impl Sizes {
    pub(super) fn new(
        x: [usize; 4],
        weight: [usize; 4],
        bias: Option<[usize; 1]>,
        geometry: ConvGeometry,
    ) -> Self {
        let [samples, c_in, height, width] = x;
        let [c_out, per_group, k_h, k_w] = weight;
        let ConvGeometry { stride, padding, groups } = geometry;
        assert!(
            groups > 0 && c_in == per_group * groups && c_out % groups == 0,
            "{x:?} by {weight:?} in {groups} groups"
        );
        assert!(bias.is_none_or(|b| b == [c_out]), "a bias of {bias:?} for {c_out} channels");
        let (input, window) = ([height, width], [k_h, k_w]);
        let output = [0, 1].map(|i| {
            let padded = input[i] + 2 * padding[i];
            assert!(
                window[i] > 0 && stride[i] > 0 && padded >= window[i],
                "a window of {window:?} on {input:?}"
            );
            (padded - window[i]) / stride[i] + 1
        });
        Self { samples, c_in, c_out, groups, input, output, window, stride, padding }
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.groups == self.c_in
            && self.c_in == self.c_out
            && (0..2).all(|i| self.padding[i] < self.window[i])
    }

    /// Input channels of one group.
    pub(super) fn inner(&self) -> usize {
        self.c_in / self.groups
    }

    /// Output channels of one group.
    pub(super) fn outer(&self) -> usize {
        self.c_out / self.groups
    }

    /// Whether Winograd's tiles may make an output of the size `grid`, can, and pay: one group, a 3x3 window, stride 1, and a
    /// window that reaches the image everywhere.
    pub(super) fn in_tiles(&self, grid: [usize; 2]) -> bool {
        winograd_is_allowed()
            && pays(self.c_in, self.c_out, grid)
            && self.groups == 1
            && self.window == [3, 3]
            && self.stride == [1, 1]
            && self.padding.iter().all(|&padding| padding <= 2)
    }

    /// The sizes of the convolution that gives the gradient of the input, by the turned weights; nothing where it is more than
    /// one: in groups, with a stride, or with more zeros than the window reaches.
    pub(super) fn of_input_gradient(&self) -> Option<Self> {
        let Self { c_in, c_out, input, output, window, padding, .. } = *self;
        let fits = (0..2).all(|i| padding[i] < window[i] && self.stride[i] == 1);
        (self.groups == 1 && fits).then(|| Self {
            c_in: c_out,
            c_out: c_in,
            input: output,
            output: input,
            padding: [0, 1].map(|i| window[i] - 1 - padding[i]),
            ..*self
        })
    }

    pub(super) fn taps(&self) -> usize {
        self.window[0] * self.window[1]
    }
}
