//! Products with gates that lie panel by panel: (panels, rows, `4 WIDTH`). In this layout a panel is at once what the
//! product with the weights writes, what the cell reads, and the packed operand of the product that gives the weights'
//! gradient.

use crate::gemm::pack::Panels;
use crate::gemm::{
    RowBlock, VECTORS, accumulate, accumulate_strided, for_row_blocks, load_panel_row, store_columns, store_panel_row,
};
use crate::lanes::{Job, Lanes};

/// `out = input W^T + b`, panel by panel.
pub(super) struct IntoPanels<'a> {
    pub(super) rows: usize,
    /// (rows, depth of `panels`)
    pub(super) input: &'a [f32],
    pub(super) inputs: usize,
    pub(super) panels: &'a Panels,
    /// (panels, rows, width)
    pub(super) out: &'a mut [f32],
}

impl Job for IntoPanels<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        assert_eq!(self.panels.width(), VECTORS * L::WIDTH, "packed for another tier");
        for panel in 0..self.panels.count() {
            for_row_blocks::<L, _>(self.rows, &mut IntoPanel { l, product: &mut self, panel });
        }
    }
}

struct IntoPanel<'p, 'a, L> {
    l: L,
    product: &'p mut IntoPanels<'a>,
    panel: usize,
}

impl<L: Lanes> RowBlock for IntoPanel<'_, '_, L> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let (l, p) = (self.l, &mut *self.product);
        let width = VECTORS * L::WIDTH;
        let mut sums = [load_panel_row(l, p.panels.bias(self.panel)); R];
        accumulate(l, &p.input[first * p.inputs..], p.inputs, p.panels.weights(self.panel), &mut sums);
        let out = &mut p.out[(self.panel * p.rows + first) * width..][..R * width];
        for (sum, out) in sums.iter().zip(out.chunks_exact_mut(width)) {
            store_panel_row(l, sum, out);
        }
    }
}

/// `out = gates W`: what the gradient of the gates is for what was multiplied by `W` (4 units, columns).
pub(super) struct FromPanels<'a> {
    /// Rows to compute, from `first` on, of all `block` rows of a panel.
    pub(super) rows: usize,
    pub(super) first: usize,
    pub(super) block: usize,
    /// (panels, block, width)
    pub(super) gates: &'a [f32],
    /// `W`, packed by `set_gates_transposed`.
    pub(super) panels: &'a Panels,
    /// (rows, columns)
    pub(super) out: &'a mut [f32],
    pub(super) columns: usize,
}

impl Job for FromPanels<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        assert_eq!(self.panels.width(), VECTORS * L::WIDTH, "packed for another tier");
        for panel in 0..self.panels.count() {
            for_row_blocks::<L, _>(self.rows, &mut FromPanel { l, product: &mut self, panel });
        }
    }
}

struct FromPanel<'p, 'a, L> {
    l: L,
    product: &'p mut FromPanels<'a>,
    panel: usize,
}

impl<L: Lanes> RowBlock for FromPanel<'_, '_, L> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let (l, p) = (self.l, &mut *self.product);
        let width = VECTORS * L::WIDTH;
        let mut sums = [[l.splat(0.0); VECTORS]; R];
        for (panel, weights) in p.panels.weights(self.panel).chunks_exact(width * width).enumerate() {
            accumulate(l, &p.gates[(panel * p.block + p.first + first) * width..], width, weights, &mut sums);
        }
        let start = self.panel * width;
        let valid = width.min(p.columns - start);
        for (row, sum) in sums.iter().enumerate() {
            store_columns(l, sum, &mut p.out[(first + row) * p.columns + start..][..valid]);
        }
    }
}

/// `sums += x^T y`, the gradient of weights: `y` is cut into panels of columns, `sums` is (panels, inputs, width).
pub(super) struct Outer<'a> {
    pub(super) rows: usize,
    /// (rows, inputs)
    pub(super) x: &'a [f32],
    pub(super) inputs: usize,
    pub(super) y: &'a [f32],
    /// From one row of `y` to the next, and from one panel to the next.
    pub(super) apart: usize,
    pub(super) panel_apart: usize,
    pub(super) panels: usize,
    pub(super) sums: &'a mut [f32],
}

impl Job for Outer<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        if self.rows == 0 {
            return;
        }
        for panel in 0..self.panels {
            for_row_blocks::<L, _>(self.inputs, &mut OuterPanel { l, outer: &mut self, panel });
        }
    }
}

struct OuterPanel<'p, 'a, L> {
    l: L,
    outer: &'p mut Outer<'a>,
    panel: usize,
}

impl<L: Lanes> RowBlock for OuterPanel<'_, '_, L> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let (l, p) = (self.l, &mut *self.outer);
        let width = VECTORS * L::WIDTH;
        let kept = &mut p.sums[(self.panel * p.inputs + first) * width..][..R * width];
        let mut sums = [[l.splat(0.0); VECTORS]; R];
        for (sum, kept) in sums.iter_mut().zip(kept.chunks_exact(width)) {
            *sum = load_panel_row(l, kept);
        }
        let y = &p.y[self.panel * p.panel_apart..];
        accumulate_strided(l, &p.x[first..], [1, p.inputs], y, p.apart, p.rows, &mut sums);
        for (sum, kept) in sums.iter().zip(kept.chunks_exact_mut(width)) {
            store_panel_row(l, sum, kept);
        }
    }
}

/// `sums += ` the rows of `y` (panels, rows, width): the gradient of a bias.
pub(super) struct RowSums<'a> {
    pub(super) rows: usize,
    pub(super) y: &'a [f32],
    /// (panels, width)
    pub(super) sums: &'a mut [f32],
}

impl Job for RowSums<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let width = VECTORS * L::WIDTH;
        if self.rows == 0 {
            return;
        }
        for (sums, y) in self.sums.chunks_exact_mut(width).zip(self.y.chunks_exact(self.rows * width)) {
            let mut held = load_panel_row(l, sums);
            for row in y.chunks_exact(width) {
                let row = load_panel_row(l, row);
                held = std::array::from_fn(|j| l.add(held[j], row[j]));
            }
            store_panel_row(l, &held, sums);
        }
    }
}
