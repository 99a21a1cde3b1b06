//! What ranks of this program can do with NVIDIA devices on this machine, whichever devices there are.

use std::time::Duration;

use croft_engine::device::{self, Facts, Why};
use croft_worker::inventory::nvidia::Refusal;

/// A driver in trouble may hang whoever asks its library.
const DEADLINE: Duration = Duration::from_secs(10);

/// What they load, or why they cannot render.
pub(crate) async fn probe() -> Result<Facts, Refusal> {
    // One that hangs is left behind at the end of the program.
    let asked = tokio::task::spawn_blocking(device::probe);
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(probed)) => judge(probed),
        Ok(Err(panic)) => Err(Refusal::new(panic.to_string(), "this is a defect: please report it")),
        Err(_) => Err(Refusal::new(
            format!("the driver's library did not answer in {} s", DEADLINE.as_secs()),
            "a device or its driver hangs: see `dmesg | grep -i nvrm`, restart the machine",
        )),
    }
}

fn judge(probed: Result<Facts, Why>) -> Result<Facts, Refusal> {
    let facts = probed.map_err(|why| {
        let remedy = match &why {
            Why::NotBuilt => "install a croft that was built with `--features cuda`",
            Why::NoDriver { remedy, .. } => remedy.as_str(),
        };
        Refusal::new(why.to_string(), remedy)
    })?;
    match &facts.cublas_lt {
        Ok(_) => Ok(facts),
        Err(why) => Err(Refusal::new(
            format!("cuBLASLt of CUDA 13 cannot be loaded: {why}"),
            "install it (libcublas-13-0, or the wheel nvidia-cublas), and name its folder in LD_LIBRARY_PATH if it lies apart",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ranks_lack_is_said_with_a_remedy() {
        let facts = |cublas_lt: Result<&str, &str>| Facts {
            cuda: "13.0".to_owned(),
            cublas_lt: cublas_lt.map(str::to_owned).map_err(str::to_owned),
            nccl: Err("no libnccl.so.2".to_owned()),
        };
        assert!(judge(Ok(facts(Ok("13.1")))).is_ok(), "one device alone needs no NCCL");
        let no_driver =
            Why::NoDriver { message: "no libcuda.so.1".to_owned(), remedy: "install driver 580".to_owned() };
        let cases = [
            (Err(Why::NotBuilt), "without the feature `cuda`", "--features cuda"),
            (Err(no_driver), "no libcuda.so.1", "driver 580"),
            (Ok(facts(Err("no libcublasLt.so.13"))), "no libcublasLt.so.13", "LD_LIBRARY_PATH"),
        ];
        for (probed, why, remedy) in cases {
            let refusal = judge(probed).expect_err(why);
            assert!(refusal.why.contains(why) && refusal.remedy.contains(remedy), "{refusal:?}");
        }
    }
}
