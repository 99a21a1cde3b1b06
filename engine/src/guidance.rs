//! How the predictions of the guided branches become one: classifier-free guidance and its rescaling.

/// `without + scale (with - without)`, then, where `rescale` is above zero, brought towards the spread of `with` by
/// that share (Lin et al. 2023, section 3.4). The result replaces `with`.
pub fn guide(without: &[f32], with: &mut [f32], scale: f32, rescale: f32) {
    let spread_with = if rescale > 0.0 { deviation(with) } else { 0.0 };
    for (with, without) in with.iter_mut().zip(without) {
        *with = without + scale * (*with - without);
    }
    if rescale > 0.0 {
        let ratio = (spread_with / deviation(with)) as f32;
        for value in with.iter_mut() {
            *value = rescale * (*value * ratio) + (1.0 - rescale) * *value;
        }
    }
}

/// The standard deviation of a sample, with n - 1 below the line.
fn deviation(values: &[f32]) -> f64 {
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_of_one_keeps_the_prompted_branch() {
        let (without, mut with) = ([1.0, 2.0, 3.0], [4.0, 6.0, 5.0]);
        guide(&without, &mut with, 1.0, 0.0);
        assert_eq!(with, [4.0, 6.0, 5.0]);
    }

    #[test]
    fn a_whole_rescale_restores_the_spread_of_the_prompted_branch() {
        let (without, mut with) = ([1.0, -2.0, 0.5, 0.0], [4.0, 6.0, 5.0, -1.0]);
        let before = deviation(&with);
        guide(&without, &mut with, 5.0, 1.0);
        assert!((deviation(&with) - before).abs() < 1e-5);
    }
}
