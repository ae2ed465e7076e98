"""Makes pictures through the official clients of both interfaces: `openai` and `webuiapi`, from PyPI.

    python -m venv venv && venv/bin/pip install openai webuiapi
    add serve configs/emoji.ron &
    venv/bin/python crates/add-serve/peers/clients.py http://127.0.0.1:7860 [TOKEN] --out clients.json

It is no part of the tests: those send what these clients send. Run it after an interface was changed.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import io
import json
from urllib.parse import urlparse

import openai
import webuiapi
from PIL import Image

PROMPT = "red heart, noto emoji"


def digest(picture):
    return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()[:16]


def by_openai(base, token):
    client = openai.OpenAI(base_url=f"{base}/v1", api_key=token or "none")
    model = client.models.list().data[0].id
    answer = client.images.generate(
        model=model, prompt=PROMPT, n=2, size="32x32", response_format="b64_json", extra_body={"seed": 7, "steps": 1}
    )
    pictures = [Image.open(io.BytesIO(base64.b64decode(data.b64_json))) for data in answer.data]
    try:
        client.images.generate(model=model, prompt=PROMPT, extra_body={"stepz": 1})
        raise SystemExit("an unknown field was passed over")
    except openai.UnprocessableEntityError as error:
        assert "stepz" in str(error), error
    return {
        "version": openai.__version__,
        "model": model,
        "pictures": [digest(picture) for picture in pictures],
        "sizes": [picture.size for picture in pictures],
    }


def by_webuiapi(base, token):
    place = urlparse(base)
    login = {"username": "add", "password": token} if token else {}
    api = webuiapi.WebUIApi(host=place.hostname, port=place.port, **login)
    text = api.txt2img(prompt=PROMPT, seed=7)
    exact = api.txt2img(prompt=PROMPT, seed=7, steps=1, cfg_scale=1, width=32, height=32, sampler_name="AddRefine")
    picture = api.img2img(images=[text.image], prompt="pizza, noto emoji", seed=7, steps=4, denoising_strength=0.5)
    names = api.util_get_model_names()
    api.util_set_model(names[-1])
    chosen = api.util_get_current_model()
    api.util_set_model(names[0])
    api.util_wait_for_ready(check_interval=0.1)
    return {
        "version": importlib.metadata.version("webuiapi"),
        "txt2img": digest(text.image),
        "txt2img, one step": digest(exact.image),
        "warnings of its defaults": text.info["warnings"],
        "img2img": digest(picture.image),
        "models": names,
        "chosen": chosen,
        "samplers": api.util_get_sampler_names(),
        "schedulers": api.util_get_scheduler_names(),
        "styles": [style["name"] for style in api.get_prompt_styles()],
        "png_info": sorted(api.png_info(text.image).json["items"]),
        "lists": {
            "upscalers": api.get_upscalers(),
            "loras": api.get_loras(),
            "sd-vae": api.get_sd_vae(),
            "face-restorers": api.get_face_restorers(),
            "latent-upscale-modes": api.get_latent_upscale_modes(),
        },
        "interrupt": api.interrupt(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("token", nargs="?")
    parser.add_argument("--out")
    options = parser.parse_args()
    found = {"openai": by_openai(options.base, options.token), "webuiapi": by_webuiapi(options.base, options.token)}
    # Both were asked for the first picture of one seed in one step.
    assert found["openai"]["pictures"][0] == found["webuiapi"]["txt2img, one step"], found
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
