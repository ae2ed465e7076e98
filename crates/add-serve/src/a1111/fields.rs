//! The fields of the web UI's requests: taken one by one, and what is left over is named.

use serde_json::{Map, Value};

use crate::{ApiError, wanted::shown};

/// Fields that change nothing here, with a value besides null, false, 0, "" and empty lists that asks for nothing: the web
/// UI's default, which its clients send along.
const IDLE: [(&str, &[&str]); 49] = [
    ("enable_hr", &[]),
    ("hr_scale", &["2", "2.0"]),
    ("hr_upscaler", &["\"Latent\""]),
    ("hr_second_pass_steps", &[]),
    ("hr_resize_x", &[]),
    ("hr_resize_y", &[]),
    ("hr_checkpoint_name", &[]),
    ("hr_sampler_name", &[]),
    ("hr_scheduler", &[]),
    ("hr_prompt", &[]),
    ("hr_negative_prompt", &[]),
    ("firstphase_width", &[]),
    ("firstphase_height", &[]),
    ("firstpass_image", &[]),
    ("subseed", &["-1"]),
    ("subseed_strength", &[]),
    ("seed_resize_from_h", &["-1"]),
    ("seed_resize_from_w", &["-1"]),
    ("restore_faces", &[]),
    ("tiling", &[]),
    ("do_not_save_samples", &["true"]),
    ("do_not_save_grid", &["true"]),
    ("eta", &["1", "1.0"]),
    ("s_churn", &[]),
    ("s_tmax", &[]),
    ("s_tmin", &[]),
    ("s_noise", &["1", "1.0"]),
    ("s_min_uncond", &[]),
    ("override_settings_restore_afterwards", &["true"]),
    ("scheduler", &["\"automatic\"", "\"Automatic\""]),
    ("script_name", &[]),
    ("script_args", &[]),
    ("send_images", &["true"]),
    ("save_images", &[]),
    ("alwayson_scripts", &[]),
    ("refiner_checkpoint", &[]),
    ("refiner_switch_at", &[]),
    ("disable_extra_networks", &[]),
    ("comments", &[]),
    ("force_task_id", &[]),
    ("infotext", &[]),
    ("include_init_images", &[]),
    ("mask_blur", &["4"]),
    ("inpainting_fill", &[]),
    ("inpaint_full_res", &["true"]),
    ("inpaint_full_res_padding", &[]),
    ("inpainting_mask_invert", &[]),
    ("initial_noise_multiplier", &["1", "1.0"]),
    ("image_cfg_scale", &["1.5"]),
];

/// The fields of a request that were not taken yet.
pub(super) struct Rest(pub(super) Map<String, Value>);

impl Rest {
    /// A whole number; null is as good as none.
    pub(super) fn whole(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        self.take(name, "a whole number", |value| {
            let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15);
            value.as_i64().or_else(|| number.map(|number| number as i64))
        })
    }

    /// A whole number from 1.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<usize>, ApiError> {
        let value = self.whole(name)?;
        let positive = |number: i64| usize::try_from(number).ok().filter(|number| *number > 0);
        match value {
            None => Ok(None),
            Some(number) => positive(number).map(Some).ok_or_else(|| {
                ApiError::field(name, format!("expected a whole number above 0, got {number}"))
            }),
        }
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        self.take(name, "a number", Value::as_f64)
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.take(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A list of texts; none where it is missing.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let texts = self.take(name, "a list of texts", |value| {
            value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// An object; an empty one where it is missing.
    pub(super) fn object(&mut self, name: &str) -> Result<Map<String, Value>, ApiError> {
        Ok(self.take(name, "an object", |value| value.as_object().cloned())?.unwrap_or_default())
    }

    fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| {
                ApiError::field(name, format!("expected {expected}, got {}", shown(&value.to_string())))
            }),
        }
    }

    /// A warning for each field that was not taken and asks for something.
    pub(super) fn warnings(self) -> impl Iterator<Item = String> {
        self.0.into_iter().filter_map(|(name, value)| {
            let Some((_, idle)) = IDLE.iter().find(|(known, _)| *known == name) else {
                return Some(format!("{}: there is no such field; it was not looked at", shown(&name)));
            };
            let asks = !nothing(&value) && !idle.contains(&value.to_string().as_str());
            let value = shown(&value.to_string());
            asks.then(|| format!("{name}: this server cannot do that; {value} was not looked at"))
        })
    }
}

/// Whether a value asks for nothing.
fn nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rest(value: Value) -> Rest {
        Rest(value.as_object().expect("an object").clone())
    }

    #[test]
    fn values_that_ask_for_nothing_are_passed_over_and_others_named() {
        let idle =
            json!({ "enable_hr": false, "hr_scale": 2, "s_noise": 1.0, "script_args": [], "eta": null });
        assert_eq!(rest(idle).warnings().count(), 0);
        let asks = json!({ "enable_hr": true, "s_noise": 0.5, "stepz": 3 });
        let warnings: Vec<String> = rest(asks).warnings().collect();
        let names: Vec<&str> = warnings.iter().filter_map(|warning| warning.split(':').next()).collect();
        assert_eq!(names, ["enable_hr", "s_noise", "stepz"]);
    }

    #[test]
    fn numbers_are_read_as_python_writes_them() {
        let mut fields = rest(json!({ "steps": 4.0, "width": -1, "seed": "x", "n_iter": null }));
        assert_eq!(fields.count("steps"), Ok(Some(4)));
        assert!(fields.count("width").is_err() && fields.whole("seed").is_err());
        assert_eq!(fields.count("n_iter"), Ok(None));
    }
}
