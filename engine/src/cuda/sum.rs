//! What the ranks of a gang put together: from device to device where they are joined by NCCL, else by way of the host.

use std::sync::Arc;

use half::bf16;

use super::{Floats, Gpu, Numbers, Precision, memory};
use crate::error::Error;
use crate::parallel::{Group, Number};

/// The first `count` numbers become the sum of all ranks'.
pub(crate) fn numbers(of: &Numbers, count: usize, group: &mut Group) -> Result<(), Error> {
    match of.gpu().precision() {
        _ if group.is_alone() => Ok(()),
        Precision::Bf16 => reduce::<bf16>(of.gpu(), of.at(), count, group),
        Precision::F32 => reduce::<f32>(of.gpu(), of.at(), count, group),
    }
}

/// All numbers become the sum of all ranks'.
pub(crate) fn floats(gpu: &Arc<Gpu>, of: &Floats, group: &mut Group) -> Result<(), Error> {
    if group.is_alone() { Ok(()) } else { reduce::<f32>(gpu, of.at(), of.len(), group) }
}

fn reduce<T: Number>(gpu: &Gpu, at: u64, count: usize, group: &mut Group) -> Result<(), Error> {
    #[cfg(feature = "nccl")]
    if let Some(done) = group.reduce_on_device(at, count, T::KIND, gpu.stream()) {
        // A device that is lost breaks the gang, and is what is to be said of it.
        return done.map_err(|broken| gpu.trouble().unwrap_or(broken.into()));
    }
    let mut values = vec![T::default(); count];
    memory::download(gpu, &mut values, at)?;
    group.all_reduce(&mut values)?;
    memory::upload(gpu, at, &values)
}
