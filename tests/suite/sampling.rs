//! `add sample` as people ask for it: sizes, seeds, starts, formats, places, and pictures that say how they were made.

mod here;

use std::{collections::BTreeMap, fs};

use add_core::{
    assemble, device, read,
    recipe::{Beginning, Dimensions, SampleRequest, options},
};
use add_data::{RgbImage, encode_png, picture_text, pictures};
use add_plugin::{Codec, LatentInfo, Pixels, Plugin, Purpose, listings};
use add_train::noise::normal;
use add_weights::{NamedTensor, Precision, WeightsFile, save};
use burn::tensor::{Device, Distribution, Tensor};
use image::ImageFormat;

use self::here::{Here, RECIPE, fine};
use crate::root;

#[test]
fn options_that_do_less_than_expected_say_so() {
    let here = Here::new();
    let said = here.samples("--prompt red_apple --guidance 0 --seed 7 --out @zero.png");
    assert!(said.contains("--guidance 0: taken as 1"), "{said}");
    let said = here.samples("--prompt red_apple --guidance 1 --seed 7 --out @one.png");
    assert!(!said.contains("--guidance"), "{said}");
    assert_eq!(here.bytes("zero.png"), here.bytes("one.png"), "0 is none, and the file says 1");
    let said = here.samples("--prompt red_apple --negative blue --seed 7 --out @negative.png");
    assert!(said.contains("--negative: has no effect without guidance"), "{said}");
    assert_eq!(here.pixels("negative.png"), here.pixels("one.png"));
    let said = here.samples("--prompt red_apple --negative blue --guidance 3 --seed 7 --out @led.png");
    assert!(!said.contains("--negative"), "{said}");
    assert_ne!(here.pixels("led.png"), here.pixels("one.png"));
    let said = here.samples("--prompt (red:1.3)_apple --out @weighted.png");
    assert!(said.contains("(red:1.3) is read as words"), "{said}");
    // In a recipe it is the same.
    let said = here.samples("--prompt red_apple --set sampling.guidance=0 --seed 7 --out @recipe.png");
    assert!(said.contains("sampling.guidance 0: taken as 1"), "{said}");
    assert_eq!(here.pixels("recipe.png"), here.pixels("one.png"));
}

#[test]
fn places_are_checked_before_any_work() {
    let here = Here::new();
    fs::write(here.path("file"), "x").unwrap();
    fs::write(here.path("old.png"), "x").unwrap();
    fs::create_dir(here.path("folder.png")).unwrap();
    // The model is not there: whoever looks at it first says that.
    for (words, part) in [
        ("", "nowhere to write to"),
        ("--grid @no/such/x.png", "--grid: "),
        ("--grid @folder.png", "is a folder"),
        ("--grid @x.gif", ".png, .jpg, .jpeg or .webp"),
        ("--grid @x", ".png, .jpg, .jpeg or .webp"),
        ("--grid @old.png", "--overwrite replaces it"),
        ("--out @old.png", "--overwrite replaces it"),
        ("--out @file", "is a file"),
        ("--out @file/below", "file/below"),
        ("--out @x.tiff", ".png, .jpg, .jpeg or .webp"),
        ("--out @x.heic", ".png, .jpg, .jpeg or .webp"),
        ("--out @no/x.png", "there is no folder"),
        ("--out @x.png --count 2", "expected a folder for 2 pictures"),
        ("--out @x.png --format webp", "--format: expected png"),
        ("--out @x.png --grid @x.png", "named for two results"),
        ("--save-latents @x.bin", ".safetensors"),
        ("--grid /proc/x.png", "/proc/x.png"),
        ("--out @out --size 33x32", "--size: expected multiples of"),
        ("--out @out --size 0x32", "--size"),
        ("--out @out --size big", "768x512"),
        ("--out @out --strength 0.5", "--strength: it needs a picture"),
        ("--out @out --mask @old.png", "--mask: it needs a picture"),
        ("--out @out --steps 2 --init @nowhere.png", "nowhere.png"),
        ("--out @out --steps 2 --init @old.png", "old.png"),
        ("--out @out --latents @old.png", ".safetensors"),
        ("--out @out --index 18446744073709551615", "--index"),
    ] {
        let output = here.sample(format!("--prompt a --weights @nowhere.safetensors {words}").trim_end());
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(matches!(output.status.code(), Some(1 | 2)), "{words}: {said}");
        assert!(said.contains(part) && !said.contains("panicked"), "{words}: expected {part:?} in {said}");
    }
    assert_eq!(here.names(""), ["file", "folder.png", "old.png"], "nothing is left");
}

#[test]
fn nothing_is_overwritten_unless_that_is_wanted() {
    let here = Here::new();
    here.samples("--prompt red_apple --count 2 --out @out");
    let before = here.bytes("out/0000.png");
    let said = here.samples("--prompt blue_car --seed 2 --out @out");
    assert!(said.contains("0002.png"), "{said}");
    fs::write(here.path("out/0007.jpg"), "of another kind").unwrap();
    here.samples("--prompt blue_car --seed 2 --format webp --out @out");
    assert_eq!(here.names("out"), ["0000.png", "0001.png", "0002.png", "0007.jpg", "0008.webp"]);
    assert_eq!(here.bytes("out/0000.png"), before);
    here.samples("--prompt blue_car --seed 2 --out @out --overwrite");
    assert_eq!(here.bytes("out/0000.png"), here.bytes("out/0002.png"));
    here.samples("--prompt a --grid @grid.png");
    let grid = here.bytes("grid.png");
    here.samples("--prompt b --grid @grid.png --overwrite");
    assert_ne!(here.bytes("grid.png"), grid);
}

#[test]
fn the_suffix_names_the_format() {
    let here = Here::new();
    here.samples("--prompt red_apple --out @a.JPG --grid @a.webp");
    here.samples("--prompt red_apple --out @folder --format jpeg");
    for (name, format) in
        [("a.JPG", ImageFormat::Jpeg), ("a.webp", ImageFormat::WebP), ("folder/0000.jpg", ImageFormat::Jpeg)]
    {
        assert_eq!(image::guess_format(&here.bytes(name)).unwrap(), format, "{name}");
    }
    assert_eq!(here.pixels("a.JPG").dimensions(), (32, 32));
}

#[test]
fn every_sampler_makes_pictures_that_are_not_square() {
    let samplers: Vec<&str> =
        listings().into_iter().filter(|row| row.family == "Sampler").map(|row| row.name).collect();
    assert!(samplers.len() >= 6, "{samplers:?}");
    for sampler in samplers {
        let sets = [format!("sampling.sampler={sampler}()")];
        let loaded = read::read(&root().join(RECIPE), &sets).unwrap();
        let device = device::of(&loaded.recipe).unwrap();
        let model =
            assemble::sampled(&loaded, &root().join("configs/weights/emoji-student.safetensors")).unwrap();
        let codec = assemble::codec(&loaded.recipe, &device).unwrap();
        let make = |width, height| {
            let request = SampleRequest {
                captions: &["red apple, noto emoji".to_owned()],
                negative: "",
                sampler: &*loaded.recipe.sampling.sampler,
                steps: 2,
                guidance: 1.0,
                seed: 3,
                first: 0,
                size: Dimensions { width, height },
                beginning: Beginning::default(),
            };
            pictures(&model.generate(&loaded.recipe, &*codec, &request)).remove(0)
        };
        for (width, height) in [(48, 32), (32, 64)] {
            let picture = make(width, height);
            assert_eq!(picture.dimensions(), (width as u32, height as u32), "{sampler}");
            let first = picture.get_pixel(0, 0);
            assert!(picture.pixels().any(|pixel| pixel != first), "{sampler}: one colour alone");
        }
    }
}

#[test]
fn every_codec_takes_pictures_that_are_not_square() {
    let device = Device::flex();
    for (codec, [height, width]) in [
        ("Identity()", [16, 24]),
        ("TinyVae(weights: \"none\")", [40, 24]),
        ("KlVae(weights: \"none\", scaling_factor: 0.18215)", [24, 40]),
    ] {
        let codec: Plugin<dyn Codec> = options().from_str(codec).unwrap();
        let network = codec.outline(&device).unwrap();
        let pixels = Tensor::<4>::random([1, 3, height, width], Distribution::Uniform(-1.0, 1.0), &device);
        let latents = network.encode(Pixels(pixels));
        let LatentInfo { channels, reduction } = codec.info();
        assert_eq!(latents.0.dims(), [1, channels, height / reduction, width / reduction]);
        assert_eq!(network.decode(latents).0.dims(), [1, 3, height, width]);
    }
}

/// The latents of the first picture in batches of one to five, to the bit, where the sides lie around those that choose another
/// way of computing.
#[test]
fn a_picture_is_the_same_to_the_bit_alone_and_among_others() {
    let loaded = read::read(&root().join(RECIPE), &[]).unwrap();
    let student = root().join("configs/weights/emoji-student.safetensors");
    let model = assemble::sampled(&loaded, &student).unwrap();
    let codec = assemble::codec(&loaded.recipe, &device::of(&loaded.recipe).unwrap()).unwrap();
    let captions: Vec<String> = (0..5).map(|i| format!("red heart number {i}")).collect();
    for (width, height, guidance) in
        [(32, 32, 1.0), (32, 32, 3.0), (32, 16, 1.0), (64, 16, 1.0), (32, 28, 1.0)]
    {
        let made = |count: usize| {
            let request = SampleRequest {
                captions: &captions[..count],
                negative: "",
                sampler: &*loaded.recipe.sampling.sampler,
                steps: 2,
                guidance,
                seed: 3,
                first: 0,
                size: Dimensions { width, height },
                beginning: Beginning::default(),
            };
            let (pixels, latents) = model.generate_both(&loaded.recipe, &*codec, &request);
            [pixels.0, latents.0].map(|all| all.narrow(0, 0, 1).into_data())
        };
        let alone = made(1);
        for count in 2..=captions.len() {
            assert_eq!(made(count), alone, "{width}x{height}, guidance {guidance}, one of {count}");
        }
    }
}

/// Makes pictures by `words` into `name`, and again from what they say of themselves.
#[track_caller]
fn comes_again(here: &Here, words: &str, name: &str) {
    here.samples(&format!("{words} @{name}"));
    let again = format!("again-{name}");
    let option = words.rsplit(' ').next().unwrap();
    fine(&here.run(&format!("--from @{name} {option} @{again}")));
    assert_eq!(here.bytes(name), here.bytes(&again), "{words}");
}

#[test]
fn a_picture_is_made_again_from_itself_to_the_byte() {
    let here = Here::new();
    let init = RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 4, y as u8 * 4, 99]));
    fs::write(here.path("init.png"), encode_png(&init, &[]).unwrap()).unwrap();
    let mask = RgbImage::from_fn(64, 64, |x, _| image::Rgb([if x < 32 { 255 } else { 0 }; 3]));
    fs::write(here.path("mask.png"), encode_png(&mask, &[]).unwrap()).unwrap();
    comes_again(&here, "--prompt red_apple --seed 9007199254740993 --index 5 --steps 2 --out", "a.png");
    comes_again(&here, "--prompt リンゴ_🍎_“red” --negative ü --guidance 2.3 --out", "b.png");
    comes_again(&here, "--prompt red_apple --size 48x32 --set sampling.sampler=Lcm() --out", "c.jpg");
    comes_again(&here, "--prompt a_dog --steps 4 --init @init.png --strength 0.6 --out", "d.webp");
    comes_again(&here, "--prompt a_dog --steps 4 --init @init.png --mask @mask.png --out", "e.png");
    comes_again(&here, "--prompt a --prompt b --count 3 --index 2 --set dtype=(model:BF16) --grid", "f.png");
    comes_again(
        &here,
        "--prompt a --weights configs/weights/emoji-teacher.safetensors --guidance 3 --out",
        "g.png",
    );
    here.samples("--prompt a --count 3 --seed 4 --save-latents @clean.safetensors --out @many");
    comes_again(&here, "--prompt b --index 2 --latents @clean.safetensors --out", "h.png");
    comes_again(&here, "--prompt b --steps 2 --strength 1 --init @clean.safetensors --out", "i.png");
    // One of several, alone and with a word changed.
    fine(&here.run("--from @many/0002.png --out @third.png"));
    assert_eq!(here.bytes("third.png"), here.bytes("many/0002.png"));
    fine(&here.run("--from @many/0002.png --seed 5 --out @other.png"));
    assert_ne!(here.pixels("other.png"), here.pixels("third.png"));
    fine(&here.run(&format!("{RECIPE} --from @many/0001.png --out @recipe.png")));
    assert_eq!(here.pixels("recipe.png"), here.pixels("many/0001.png"));
    // What a list made.
    fs::write(here.path("list.txt"), "red apple\nblue car\na dog\n").unwrap();
    here.samples("--prompts @list.txt --out @list --size 32x48");
    fine(&here.run("--from @list/000002.png --out @from-list.png"));
    assert_eq!(here.bytes("from-list.png"), here.bytes("list/000002.png"));
}

#[test]
fn what_a_picture_is_made_again_from_must_be_there() {
    let here = Here::new();
    let init = |value: u8| encode_png(&RgbImage::from_pixel(32, 32, [value; 3].into()), &[]).unwrap();
    fs::write(here.path("init.png"), init(9)).unwrap();
    here.samples("--prompt a --steps 2 --init @init.png --out @a.png");
    fs::write(here.path("init.png"), init(10)).unwrap();
    fs::write(here.path("plain.png"), init(1)).unwrap();
    let a1111 = encode_png(&RgbImage::new(8, 8), &[("parameters", "a\nSteps: 2, Seed: 1")]).unwrap();
    fs::write(here.path("a1111.png"), a1111).unwrap();
    let broken = encode_png(&RgbImage::new(8, 8), &[("add", "{\"seed\": ")]).unwrap();
    fs::write(here.path("broken.png"), broken).unwrap();
    for (words, part) in [
        ("--from @a.png --out @b.png", "--init: "),
        ("--from @plain.png --out @b.png", "it has none"),
        ("--from @a1111.png --out @b.png", "A1111"),
        ("--from @broken.png --out @b.png", "damaged"),
        ("--from @nowhere.png --out @b.png", "nowhere.png"),
        ("--out @b.png", "--prompt"),
    ] {
        let output = here.run(words);
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(matches!(output.status.code(), Some(1 | 2)), "{words}: {said}");
        assert!(said.contains(part) && !said.contains("panicked"), "{words}: expected {part:?} in {said}");
    }
    fs::remove_file(here.path("init.png")).unwrap();
    let output = here.run("--from @a.png --out @b.png");
    assert!(String::from_utf8_lossy(&output.stderr).contains("which is not there"));
}

#[test]
fn what_a_picture_says_names_no_folder_of_this_machine() {
    let here = Here::new();
    fs::create_dir_all(here.path("private/weights")).unwrap();
    let model = here.path("private/weights/model.safetensors");
    fs::copy(root().join("configs/weights/emoji-student.safetensors"), &model).unwrap();
    let data = here.text("private/pictures");
    let set = format!("data=ImageFolder(path:\"{data}\",size:32)");
    for (name, more) in [("a.png", ""), ("a.jpg", ""), ("a.webp", "")] {
        here.samples(&format!(
            "--prompt red_apple --weights @private/weights/model.safetensors --set {set} {more}--out @{name}"
        ));
        let text = picture_text(&here.bytes(name)).unwrap();
        let value = |key: &str| text.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str());
        for (_, value) in &text {
            assert!(
                !value.contains("private") && !value.contains(here.0.path().to_str().unwrap()),
                "{value}"
            );
        }
        let parameters = value("parameters").unwrap();
        assert!(
            parameters.starts_with("red apple\nSteps: 1, Sampler: AddRefine, CFG scale: 1, Seed: 0"),
            "{parameters}"
        );
        assert!(value("add").unwrap().contains("\"model.safetensors\""));
        // ComfyUI reads these as its own.
        assert!(value("prompt").is_none() && value("workflow").is_none());
    }
    // The name alone says not where it is.
    let output = here.run("--from @a.png --out @b.png");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--weights: "));
    fine(&here.run("--from @a.png --weights @private/weights/model.safetensors --out @b.png"));
    assert_eq!(here.bytes("a.png"), here.bytes("b.png"));
}

#[test]
fn a_mask_keeps_what_is_black() {
    let here = Here::new();
    let init = RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 50]));
    fs::write(here.path("init.png"), encode_png(&init, &[]).unwrap()).unwrap();
    let inside = |x: u32, y: u32| (8..24).contains(&x) && (4..28).contains(&y);
    let mask = RgbImage::from_fn(32, 32, |x, y| image::Rgb([if inside(x, y) { 255 } else { 0 }; 3]));
    fs::write(here.path("mask.png"), encode_png(&mask, &[]).unwrap()).unwrap();
    for (sampler, steps) in [("AddRefine()", 4), ("DpmSolver2M()", 6), ("EulerAncestral()", 4)] {
        let name = format!("{}.png", &sampler[..3]);
        here.samples(&format!(
            "--prompt red_apple --set sampling.sampler={sampler} --steps {steps} --init @init.png --strength 1 --mask \
             @mask.png --out @{name}"
        ));
        let made = here.pixels(&name);
        let outside = |x, y| made.get_pixel(x, y) == init.get_pixel(x, y);
        let all = (0..32).flat_map(|y| (0..32).map(move |x| (x, y)));
        let (kept, anew): (Vec<_>, Vec<_>) = all.partition(|&(x, y)| !inside(x, y));
        assert!(kept.iter().all(|&(x, y)| outside(x, y)), "{sampler}: what is black is kept to the bit");
        let changed = anew.iter().filter(|&&(x, y)| !outside(x, y)).count();
        assert!(changed * 10 > anew.len() * 9, "{sampler}: {changed} of {}", anew.len());
    }
    // White everywhere is the picture without a mask.
    fs::write(here.path("all.png"), encode_png(&RgbImage::from_pixel(32, 32, [255; 3].into()), &[]).unwrap())
        .unwrap();
    here.samples("--prompt a --steps 4 --init @init.png --mask @all.png --out @all-out.png");
    here.samples("--prompt a --steps 4 --init @init.png --out @no-mask.png");
    let (all, none) = (here.pixels("all-out.png"), here.pixels("no-mask.png"));
    assert!(all.as_raw().iter().zip(none.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 1));
    for (name, part) in
        [("init.png", ""), ("small.png", "expected the size"), ("black.png", "nothing of it is white")]
    {
        let side = if name == "small.png" { 16 } else { 32 };
        if name != "init.png" {
            fs::write(here.path(name), encode_png(&RgbImage::new(side, side), &[]).unwrap()).unwrap();
        }
        let output =
            here.sample(&format!("--prompt a --steps 4 --init @init.png --mask @{name} --out @x-{name}"));
        assert_eq!(output.status.success(), part.is_empty(), "{name}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(part), "{name}");
    }
}

#[test]
fn latents_go_out_and_come_in() {
    let here = Here::new();
    let words = "--prompt a_dog --count 2 --size 32x48 --seed 6 --steps 2";
    here.samples(&format!("{words} --save-latents @clean.safetensors --out @seed"));
    let file = WeightsFile::open(here.path("clean.safetensors")).unwrap();
    assert_eq!(file.info("latents").unwrap().shape, [2, 3, 48, 32]);
    // The noise of the seed, from a file.
    let noise = normal(6, 0, 0, Purpose::SampleNoise, [2, 3, 48, 32], &Device::flex());
    let tensor = |noise: Tensor<4>| NamedTensor { shape: noise.dims().to_vec(), values: noise.reshape([-1]) };
    let write = |name: &str, tensors: BTreeMap<String, NamedTensor>| {
        save(&here.path(name), &tensors, Precision::F32, &BTreeMap::new()).unwrap();
    };
    write("noise.safetensors", [("latents".to_owned(), tensor(noise.clone()))].into());
    here.samples(&format!("{words} --latents @noise.safetensors --out @file"));
    for name in ["0000.png", "0001.png"] {
        assert_eq!(here.pixels(&format!("file/{name}")), here.pixels(&format!("seed/{name}")), "{name}");
    }
    here.samples("--prompt a_dog --index 1 --size 32x48 --seed 6 --steps 2 --latents @noise.safetensors --out @second.png");
    assert_eq!(here.pixels("second.png"), here.pixels("seed/0001.png"));
    let nan = noise.clone() / 0.0 * 0.0;
    write("nan.safetensors", [("latents".to_owned(), tensor(nan))].into());
    let two = [("a".to_owned(), tensor(noise.clone())), ("b".to_owned(), tensor(noise))];
    write("two.safetensors", two.into());
    for (words, part) in [
        ("--latents @noise.safetensors --size 48x32", "expected latents [N, 3, 32, 48]"),
        ("--latents @noise.safetensors --size 32x48 --index 2", "latents of 2 pictures"),
        ("--latents @nan.safetensors --size 32x48", "nan.safetensors"),
        ("--latents @two.safetensors --size 32x48", "called `latents`"),
        ("--init @noise.safetensors --size 32x48 --strength 0", "--strength"),
    ] {
        let output = here.sample(&format!("--prompt a {words} --out @x.png"));
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!output.status.success() && said.contains(part), "{words}: {said}");
    }
}
