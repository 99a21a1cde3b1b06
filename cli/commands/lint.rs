//! `croft lint`: checks a spec without a farm, with the cards of the models that are on this machine.

use crate::{
    args,
    exit::{Exit, Failed},
    output,
    spec_file::{Cards, SpecFile},
};

pub(super) fn run(args: &args::Spec) -> Result<Exit, Failed> {
    let file = SpecFile::read(&args.file, &args.set)?;
    let spec = file.parse()?;
    let cards = Cards::of(&spec, &file)?;
    if !cards.elsewhere.is_empty() {
        let models = cards.elsewhere.join(", ");
        output::line(&format!(
            "{}: well formed; not on this machine, so parameters were not checked: {models}",
            file.name
        ))?;
        return Ok(Exit::Ok);
    }
    let plan = file.plan(spec, &cards.found)?;
    for warning in plan.warnings() {
        output::line(&format!("{}: warning: {warning}", file.name))?;
    }
    output::line(&format!("{}: ok: {}", file.name, plan.arithmetic()))?;
    Ok(Exit::Ok)
}
