//! A state store that forgets with the process: for a farm that lives as long as one command.

use std::collections::BTreeMap;

use croft_core::step::Write;

use super::{Error, StateStore};

/// Keys and values in memory.
#[derive(Debug, Default)]
pub struct Memory {
    values: BTreeMap<String, Vec<u8>>,
}

impl StateStore for Memory {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        Ok(self.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&mut self, writes: Vec<Write>) -> Result<(), Error> {
        for Write { key, value } in writes {
            match value {
                Some(value) => drop(self.values.insert(key, value)),
                None => drop(self.values.remove(&key)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_conforms() {
        crate::state::conforms(&mut Memory::default());
    }
}
