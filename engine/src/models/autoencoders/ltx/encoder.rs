//! The encoder's names and shapes. It is in every file; nothing here runs it.

use super::config::EncoderConfig;
use crate::error::Error;
use crate::weights::Scope;

pub(crate) fn check(config: &EncoderConfig, scope: &mut Scope<'_>) -> Result<(), Error> {
    let channels = &config.channels;
    conv(&mut scope.at("conv_in.conv"), config.inputs, channels[0], 3)?;
    let blocks = channels.len() - usize::from(config.widens_by_halving);
    let mut entering = channels[0];
    for i in 0..blocks {
        let leaving = channels.get(i + 1).copied().unwrap_or(entering);
        let mut block = scope.at(format_args!("down_blocks.{i}"));
        for layer in 0..config.layers.get(i).copied().unwrap_or(0) {
            resnet(&mut block.at(format_args!("resnets.{layer}")), entering, entering)?;
        }
        let halves = config.halves.get(i).copied().unwrap_or(false);
        let kind = config.downsamplers.get(i).map_or("conv", String::as_str);
        let strides = match kind {
            "spatial" => 4,
            "temporal" => 2,
            "spatiotemporal" => 8,
            _ => 1,
        };
        match (halves, config.widens_by_halving && strides > 1) {
            (true, true) => conv(&mut block.at("downsamplers.0.conv.conv"), entering, leaving / strides, 3)?,
            (true, false) => conv(&mut block.at("downsamplers.0.conv"), entering, entering, 3)?,
            (false, _) => {}
        }
        if !config.widens_by_halving && leaving != entering {
            resnet(&mut block.at("conv_out"), entering, leaving)?;
        }
        entering = leaving;
    }
    for layer in 0..config.layers.last().copied().unwrap_or(0) {
        resnet(&mut scope.at(format_args!("mid_block.resnets.{layer}")), entering, entering)?;
    }
    conv(&mut scope.at("conv_out.conv"), entering, config.latent_channels + 1, 3)
}

fn resnet(scope: &mut Scope<'_>, inputs: usize, outputs: usize) -> Result<(), Error> {
    conv(&mut scope.at("conv1.conv"), inputs, outputs, 3)?;
    conv(&mut scope.at("conv2.conv"), outputs, outputs, 3)?;
    if inputs != outputs {
        scope.skip("norm3.weight", &[inputs])?;
        scope.skip("norm3.bias", &[inputs])?;
        conv(&mut scope.at("conv_shortcut.conv"), inputs, outputs, 1)?;
    }
    Ok(())
}

fn conv(scope: &mut Scope<'_>, inputs: usize, outputs: usize, side: usize) -> Result<(), Error> {
    scope.skip("weight", &[outputs, inputs, side, side, side])?;
    scope.skip("bias", &[outputs])
}
