//! candle's side of a comparison: `candle-peer WORK THREADS`, told on standard input what to do, in the words of
//! add-bench's `worker`. It knows one work, a forward pass of the U-Net of SD1.5.

use std::{fs, io::BufRead, process::ExitCode, time::Instant};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};

fn main() -> ExitCode {
    let work = std::env::args().nth(1).and_then(|text| serde_json::from_str(&text).ok());
    match work.ok_or_else(|| "expected WORK as JSON".to_owned()).and_then(|work| run(&work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("candle-peer: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(work: &serde_json::Value) -> std::result::Result<(), String> {
    if work["kind"] != "unet" || work["model"] != "sd15" {
        return Err(format!("it can do the unet of sd15 alone, not {work}"));
    }
    let latent = work["latent"].as_u64().unwrap_or(64) as usize;
    let mut job = unet(latent).map_err(|e| e.to_string())?;
    job().map_err(|e| e.to_string())?;
    // Where the system cannot forget the peak, it is that of the whole process.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let rest = memory("VmRSS:");
    println!("ready");
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let count: u32 = line.trim_start_matches("go ").parse().map_err(|_| format!("no order: {line}"))?;
        let start = Instant::now();
        for _ in 0..count {
            job().map_err(|e| e.to_string())?;
        }
        println!("{}", start.elapsed().as_secs_f64());
    }
    println!("peak {} rest {rest}", memory("VmHWM:"));
    Ok(())
}

fn unet(latent: usize) -> Result<impl FnMut() -> Result<()>> {
    let device = Device::Cpu;
    let block = |out_channels, use_cross_attn| BlockConfig { out_channels, use_cross_attn, attention_head_dim: 8 };
    let config = UNet2DConditionModelConfig {
        blocks: vec![block(320, Some(1)), block(640, Some(1)), block(1280, Some(1)), block(1280, None)],
        center_input_sample: false,
        cross_attention_dim: 768,
        downsample_padding: 1,
        flip_sin_to_cos: true,
        freq_shift: 0.,
        layers_per_block: 2,
        mid_block_scale_factor: 1.,
        norm_eps: 1e-5,
        norm_num_groups: 32,
        sliced_attention_size: None,
        use_linear_projection: false,
    };
    let values = VarMap::new();
    let builder = VarBuilder::from_varmap(&values, DType::F32, &device);
    let net = UNet2DConditionModel::new(builder, 4, 4, false, config)?;
    let x = Tensor::rand(-1f32, 1., (1, 4, latent, latent), &device)?;
    let text = Tensor::rand(-1f32, 1., (1, 77, 768), &device)?;
    Ok(move || net.forward(&x, 500., &text).map(|_| ()))
}

fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0)
}
