//! `to + gate * y`: what a transformer block adds to its stream.

use super::simd::{Isa, Simd, dispatch};

/// `y = to + gate * y` over one piece of a row; without a gate, `y = to + y`.
pub(crate) fn add_gated(isa: Isa, to: &[f32], gate: Option<&[f32]>, y: &mut [f32]) {
    assert_eq!(to.len(), y.len(), "two rows of one size");
    assert!(gate.is_none_or(|g| g.len() == y.len()), "a gate of the size of the row");
    dispatch!(isa, add_body, (to: &[f32], gate: Option<&[f32]>, y: &mut [f32]));
}

#[inline(always)]
unsafe fn add_body<V: Simd>(to: &[f32], gate: Option<&[f32]>, y: &mut [f32]) {
    let (len, to, p) = (y.len(), to.as_ptr(), y.as_mut_ptr());
    unsafe {
        let mut i = 0;
        while i + V::LANES <= len {
            let (a, b) = (V::load(to.add(i)), V::load(p.add(i)));
            let sum = match gate {
                Some(gate) => b.fma(V::load(gate.as_ptr().add(i)), a),
                None => a.add(b),
            };
            sum.store(p.add(i));
            i += V::LANES;
        }
        while i < len {
            *p.add(i) = *to.add(i) + *p.add(i) * gate.map_or(1.0, |g| g[i]);
            i += 1;
        }
    }
}
