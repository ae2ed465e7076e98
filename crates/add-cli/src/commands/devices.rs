//! `add devices`: what a recipe's `device` can be on this machine.

use add_core::device::{Listing, list, missing_features};
use clap::Args;

use super::print;

/// Arguments of `devices`.
#[derive(Debug, Args)]
pub(crate) struct Devices {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Devices {
    /// Exit with code 1 when a device is there and cannot be used.
    pub(crate) fn run(&self) -> u8 {
        let (devices, missing) = (list(), missing_features());
        if self.json {
            let devices: Vec<_> = devices.iter().map(json).collect();
            let missing: Vec<_> = missing.iter().map(|(feature, _)| feature).collect();
            let all = serde_json::json!({ "devices": devices, "missing_features": missing });
            print(&format!("{all:#}"));
        } else {
            for device in &devices {
                print(&text(device));
            }
            for (feature, devices) in missing {
                print(&format!(
                    "This binary was built without the feature `{feature}`, which adds {devices}."
                ));
            }
        }
        u8::from(devices.iter().any(|device| device.problem.is_some()))
    }
}

fn json(device: &Listing) -> serde_json::Value {
    let Listing { name, device, driver, memory, types, problem } = device;
    serde_json::json!({
        "name": name, "device": device, "driver": driver, "memory": memory, "types": types, "problem": problem
    })
}

fn text(device: &Listing) -> String {
    let Listing { name, device, driver, memory, types, problem } = device;
    if let Some(problem) = problem {
        return format!("{name:<15} cannot be used: {problem}");
    }
    let memory = memory.map_or("not stated".to_owned(), |bytes| format!("{:.1} GB", bytes as f64 / 1e9));
    let types = types.join(", ");
    format!("{name:<15} {device}\n{0:<15} driver {driver}\n{0:<15} memory {memory}; computes in {types}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        Listing {
            name: "Cuda(0)".to_owned(),
            device: "NVIDIA H100".to_owned(),
            driver: "550.54".to_owned(),
            memory: Some(80_000_000_000),
            types: vec!["f32", "bf16"],
            problem: None,
        }
    }

    #[test]
    fn a_device_tells_memory_driver_and_types() {
        let told = text(&listing());
        for part in ["Cuda(0)", "NVIDIA H100", "driver 550.54", "80.0 GB", "f32, bf16"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(text(&Listing { memory: None, ..listing() }).contains("memory not stated"));
    }

    #[test]
    fn a_device_that_fails_says_why() {
        let told = text(&Listing { problem: Some("wrong products".to_owned()), ..listing() });
        assert_eq!(told, "Cuda(0)         cannot be used: wrong products");
    }
}
