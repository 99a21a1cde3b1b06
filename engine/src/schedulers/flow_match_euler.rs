//! Flow matching with Euler steps: straight lines from noise to picture, with levels shifted by the clip's length.
//!
//! Levels are computed with the roundings of diffusers' FlowMatchEulerDiscreteScheduler: a linspace in f64, all that
//! follows in f32. Karras, exponential, beta, inverted and stochastic schedules are refused when it is read.

use crate::error::Error;
use crate::settings::Settings;

/// The levels of one kind of schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowMatchEuler {
    train_steps: f32,
    shift: Shift,
    /// The last level before zero; levels are stretched to end there.
    terminal: Option<f32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Shift {
    Fixed(f32),
    /// Grows with the number of tokens, on a line through two points.
    ByLength {
        tokens: [f64; 2],
        shift: [f64; 2],
        exponential: bool,
    },
}

/// The levels of one render.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Shares of noise, falling; one more than there are steps, the last is zero.
    pub sigmas: Vec<f32>,
    /// What the model is told at each step.
    pub timesteps: Vec<f32>,
}

impl FlowMatchEuler {
    pub(crate) fn read(settings: &Settings) -> Result<Self, Error> {
        for key in [
            "invert_sigmas",
            "stochastic_sampling",
            "use_beta_sigmas",
            "use_exponential_sigmas",
            "use_karras_sigmas",
        ] {
            settings.only(key, false)?;
        }
        let shift = if settings.flag("use_dynamic_shifting", false)? {
            let exponential = match settings.text("time_shift_type") {
                None | Some("exponential") => true,
                Some("linear") => false,
                Some(_) => return Err(settings.wrong("time_shift_type", "neither exponential nor linear")),
            };
            let tokens = [
                settings.number("base_image_seq_len", Some(256.0))?,
                settings.number("max_image_seq_len", Some(4096.0))?,
            ];
            if tokens[0] == tokens[1] {
                return Err(settings.wrong("max_image_seq_len", "equal to base_image_seq_len"));
            }
            let shift =
                [settings.number("base_shift", Some(0.5))?, settings.number("max_shift", Some(1.15))?];
            Shift::ByLength { tokens, shift, exponential }
        } else {
            Shift::Fixed(settings.number("shift", Some(1.0))? as f32)
        };
        let terminal = settings.number("shift_terminal", Some(0.0))?;
        Ok(Self {
            train_steps: settings.size("num_train_timesteps", Some(1000))? as f32,
            shift,
            terminal: (terminal != 0.0).then_some(terminal as f32),
        })
    }

    /// The levels for `steps` steps over a clip of `tokens` tokens. `steps` is at least 1.
    pub fn levels(&self, steps: usize, tokens: usize) -> Levels {
        let mut sigmas: Vec<f32> = even(steps);
        match &self.shift {
            Shift::Fixed(shift) => {
                sigmas.iter_mut().for_each(|s| *s = shift * *s / (1.0 + (shift - 1.0) * *s));
            }
            Shift::ByLength { tokens: [t0, t1], shift: [s0, s1], exponential } => {
                let slope = (s1 - s0) / (t1 - t0);
                let mu = tokens as f64 * slope + (s0 - slope * t0);
                let by = if *exponential { mu.exp() } else { mu } as f32;
                sigmas.iter_mut().for_each(|s| *s = by / (by + (1.0 / *s - 1.0)));
            }
        }
        if let (Some(terminal), Some(last)) = (self.terminal, sigmas.last()) {
            let stretch = (1.0 - last) / (1.0 - f64::from(terminal)) as f32;
            // A single step has level 1 and nothing to stretch: torch divides by zero there and gives NaN.
            if stretch > 0.0 {
                sigmas.iter_mut().for_each(|s| *s = 1.0 - (1.0 - *s) / stretch);
            }
        }
        let timesteps = sigmas.iter().map(|s| s * self.train_steps).collect();
        sigmas.push(0.0);
        Levels { sigmas, timesteps }
    }
}

impl Levels {
    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// Moves `latents` along `velocity` from level `step` to the next.
    pub fn step(&self, step: usize, velocity: &[f32], latents: &mut [f32]) {
        let by = self.sigmas[step + 1] - self.sigmas[step];
        latents.iter_mut().zip(velocity).for_each(|(x, v)| *x += by * v);
    }
}

/// `steps` levels from 1 to `1 / steps`, evenly.
fn even(steps: usize) -> Vec<f32> {
    let last = 1.0 / steps as f64;
    let by = if steps > 1 { (last - 1.0) / (steps - 1) as f64 } else { 0.0 };
    (0..steps).map(|i| if i > 0 && i == steps - 1 { last } else { 1.0 + i as f64 * by } as f32).collect()
}
