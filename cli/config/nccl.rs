//! `[nccl]` in `worker.toml`: which interfaces and links NCCL may use, as the variables that it reads itself.

use serde::Deserialize;

/// What is left out, NCCL chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nccl {
    /// The interface between this machine and the others, by its exact name: `ens1f0`.
    interface: Option<String>,
    /// InfiniBand or RoCE adapters, as NCCL names them: `mlx5_0:1`. An empty name keeps NCCL off all of them.
    adapters: Option<String>,
    /// Blocks of the device that NCCL may occupy, at most.
    max_ctas: Option<u32>,
    /// What NCCL logs: `WARN`, `INFO`.
    log: Option<String>,
}

impl Nccl {
    /// For the ranks of a worker.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        // Its diagnostic thread would listen on a port of its own.
        let mut told = vec![("NCCL_RAS_ENABLE", "0".to_owned())];
        if let Some(interface) = &self.interface {
            // Without the sign, a name stands for all that begin with it.
            told.push(("NCCL_SOCKET_IFNAME", format!("={interface}")));
        }
        match self.adapters.as_deref() {
            Some("") => told.push(("NCCL_IB_DISABLE", "1".to_owned())),
            Some(adapters) => told.push(("NCCL_IB_HCA", format!("={adapters}"))),
            None => {}
        }
        told.extend(self.max_ctas.map(|ctas| ("NCCL_MAX_CTAS", ctas.to_string())));
        told.extend(self.log.clone().map(|level| ("NCCL_DEBUG", level)));
        told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(toml: &str) -> Vec<String> {
        let nccl: Nccl = toml::from_str(toml).expect("settings");
        nccl.environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn an_interface_is_meant_exactly_and_no_port_is_opened_beside_it() {
        let told = environment("interface = 'ens1f0'\nadapters = ''\nmax_ctas = 4");
        let expected =
            ["NCCL_RAS_ENABLE=0", "NCCL_SOCKET_IFNAME==ens1f0", "NCCL_IB_DISABLE=1", "NCCL_MAX_CTAS=4"];
        assert_eq!(told, expected);
        assert_eq!(environment("adapters = 'mlx5_0:1'")[1], "NCCL_IB_HCA==mlx5_0:1");
    }
}
