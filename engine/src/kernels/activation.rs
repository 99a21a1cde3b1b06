//! GELU (the tanh form) and SiLU, in place, with a vector exponential.
//!
//! tanh is never computed: `0.5 (1 + tanh u)` is `1 / (1 + e^(-2u))`.

use super::par;
use super::simd::{Isa, Simd, dispatch, exp};

/// Values of a piece.
const PIECE: usize = 16_384;

/// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, as the models' `gelu-approximate` and `gelu_new`.
#[cfg(test)]
pub(crate) fn gelu_tanh(x: &mut [f32]) {
    in_place(x, |part| gelu_part(Isa::best(), part));
}

/// `x / (1 + e^-x)`.
pub(crate) fn silu(x: &mut [f32]) {
    in_place(x, |part| silu_part(Isa::best(), part));
}

fn in_place(x: &mut [f32], work: impl Fn(&mut [f32]) + Sync) {
    let len = x.len();
    let shared = par::Shared::new(x);
    par::for_each(len.div_ceil(PIECE), |piece| {
        let at = piece * PIECE;
        // SAFETY: pieces are disjoint and end with the slice.
        work(unsafe { shared.slice(at, PIECE.min(len - at)) });
    });
}

pub(crate) fn gelu_part(isa: Isa, x: &mut [f32]) {
    dispatch!(isa, gelu_body, (x: &mut [f32]));
}

pub(crate) fn silu_part(isa: Isa, x: &mut [f32]) {
    dispatch!(isa, silu_body, (x: &mut [f32]));
}

#[inline(always)]
unsafe fn gelu_body<V: Simd>(x: &mut [f32]) {
    unsafe { each::<V, Gelu>(x) }
}

#[inline(always)]
unsafe fn silu_body<V: Simd>(x: &mut [f32]) {
    unsafe { each::<V, Silu>(x) }
}

#[inline(always)]
unsafe fn each<V: Simd, C: Curve>(x: &mut [f32]) {
    let (len, p) = (x.len(), x.as_mut_ptr());
    let mut i = 0;
    unsafe {
        while i + V::LANES <= len {
            C::at(V::load(p.add(i))).store(p.add(i));
            i += V::LANES;
        }
        if i < len {
            C::at(V::load_n(p.add(i), len - i)).store_n(p.add(i), len - i);
        }
    }
}

/// A function of one value. A type and not a closure, since only `#[inline(always)]` functions take the vector
/// features of their caller.
pub(crate) trait Curve {
    unsafe fn at<V: Simd>(x: V) -> V;
}

/// `x / (1 + e^-x)`.
pub(crate) struct Silu;

impl Curve for Silu {
    #[inline(always)]
    unsafe fn at<V: Simd>(x: V) -> V {
        unsafe { x.div(V::splat(1.0).add(exp(V::splat(0.0).sub(x)))) }
    }
}

struct Gelu;

impl Curve for Gelu {
    #[inline(always)]
    unsafe fn at<V: Simd>(x: V) -> V {
        // -2 sqrt(2/pi) (x + 0.044715 x^3) = x (A + B x^2)
        const A: f32 = -1.595_769;
        const B: f32 = -0.071_354_814;
        unsafe {
            let u = x.mul(x).fma(V::splat(B), V::splat(A)).mul(x);
            x.div(V::splat(1.0).add(exp(u)))
        }
    }
}
