//! A state store that forgets with the process: for a farm that lives as long as one command.

use std::collections::BTreeMap;

use croft_core::step::Write;

use super::{Epoch, Error, StateStore};

/// Keys and values in memory.
#[derive(Debug, Default)]
pub struct Memory {
    values: BTreeMap<String, Vec<u8>>,
    epoch: Option<Epoch>,
    revision: u64,
}

impl Memory {
    /// Somebody else leads from here on: tests of what a deposed leader may not do.
    #[must_use]
    pub fn led_by(epoch: Epoch) -> Self {
        Self { epoch: Some(epoch), ..Self::default() }
    }
}

impl StateStore for Memory {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        Ok(self.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&mut self, epoch: Epoch, writes: &[Write]) -> Result<(), Error> {
        if self.epoch.is_some_and(|leader| leader != epoch) {
            return Err(Error::Deposed);
        }
        for Write { key, value } in writes {
            match value {
                Some(value) => drop(self.values.insert(key.clone(), value.clone())),
                None => drop(self.values.remove(key)),
            }
        }
        self.revision += 1;
        Ok(())
    }

    fn revision(&mut self) -> Result<u64, Error> {
        Ok(self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::conformance;

    #[test]
    fn memory_conforms() {
        let mut store = Memory::led_by(Epoch(7));
        conformance::check(&mut store, Epoch(7));
        conformance::refuses_others(&mut store, Epoch(7), Epoch(6));
    }
}
