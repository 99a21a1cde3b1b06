//! The numbers that `torch.Generator("cpu").manual_seed(seed)` and `torch.randn` give, so that a seed means the same
//! clip here and there: a Mersenne twister, and Box-Muller over groups of sixteen.
//!
//! It makes f32 normals only. CUDA generators number their draws by launch grid and are not imitated.

use std::f64::consts::TAU;

const WORDS: usize = 624;
const MIDDLE: usize = 397;
/// Uniforms that torch turns into normals at a time.
const GROUP: usize = 16;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Generator {
    state: Box<[u32; WORDS]>,
    next: usize,
    /// The second half of a pair drawn for a short request.
    spare: Option<f64>,
}

impl Generator {
    /// Starts the stream of `seed`; as in torch, only its low 32 bits count.
    pub fn new(seed: u64) -> Self {
        let mut state = Box::new([0; WORDS]);
        state[0] = seed as u32;
        for i in 1..WORDS {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: WORDS, spare: None }
    }

    /// The next `count` values of a standard normal distribution.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        if count < GROUP {
            return (0..count).map(|_| self.single() as f32).collect();
        }
        let mut out: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        out.as_chunks_mut::<GROUP>().0.iter_mut().for_each(box_muller);
        if !count.is_multiple_of(GROUP) {
            // The group that would reach over the end is drawn anew, over the last sixteen places.
            let mut last: [f32; GROUP] = std::array::from_fn(|_| self.uniform());
            box_muller(&mut last);
            out[count - GROUP..].copy_from_slice(&last);
        }
        out
    }

    /// 24 bits in [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.word() & 0x00FF_FFFF) as f32 / 16_777_216.0
    }

    /// 53 bits in [0, 1).
    fn uniform_double(&mut self) -> f64 {
        let (high, low) = (u64::from(self.word()), u64::from(self.word()));
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }

    fn single(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (angle, radius) = (self.uniform_double(), self.uniform_double());
        let (angle, radius) = (TAU * angle, (-2.0 * (-radius).ln_1p()).sqrt());
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.turn();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    fn turn(&mut self) {
        for i in 0..WORDS {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7FFF_FFFF);
            let odd = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[i] = self.state[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

/// Eight radii and eight angles become sixteen normals.
fn box_muller(group: &mut [f32; GROUP]) {
    for i in 0..GROUP / 2 {
        let radius = (-2.0 * (1.0 - group[i]).ln()).sqrt();
        let (sin, cos) = (TAU as f32 * group[i + GROUP / 2]).sin_cos();
        group[i] = radius * cos;
        group[i + GROUP / 2] = radius * sin;
    }
}
