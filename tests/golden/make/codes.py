"""Codes and directions as other programs write them. Needs torch and numpy; run it beside `tests/golden/cases`.

Codes are those of cases/w_plus.npy [3, 6, 16] in the order said, or the first style of each where a file holds w.
Directions are made from a seed; what an edit by them shall add lies in codes/expected.safetensors.
"""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

cases = Path(__file__).parent.parent / "cases"
out = Path(__file__).parent.parent / "codes"
out.mkdir(exist_ok=True)
rng = np.random.default_rng(0)
codes = np.load(cases / "w_plus.npy")
styles = np.ascontiguousarray(codes[:, 0])
rounds = lambda i, n: [codes[(i + k + 1) % 3] for k in range(n - 1)] + [codes[i]]


def draw(*shape):
    return rng.standard_normal(shape).astype(np.float32)


# Containers.
np.save(out / "fortran.npy", np.asfortranarray(codes))
np.savez_compressed(out / "compressed.npz", w=codes[:1], steps=np.array([100]), name=np.array("a.jpg"))
np.savez(out / "pickled.npz", latents={"b.jpg": codes[1], "a.jpg": codes[0]})
with open(out / "tensors.pkl", "wb") as file:
    pickle.dump({"b.jpg": torch.tensor(codes[1]), "a.jpg": torch.tensor(codes[0])}, file)
# NumPy writes protocol 3 or 4 today; before, files of protocol 2 were made.
header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
boxed = np.empty((), dtype=object)
boxed[()] = {"c.jpg": [codes[2]], "a.jpg": [codes[0]]}
(out / "protocol2.npy").write_bytes(header + pickle.dumps(boxed, protocol=2))

# Codes.
np.savez(out / "projector_tf.npz", dlatents=codes[:1])
np.savez(out / "one_style.npz", w=styles[:1, None])  # [1, 1, D]
torch.save(torch.tensor(codes), out / "e4e_latents.pt")
torch.save([torch.tensor(codes[:2]), torch.tensor(codes[2:])], out / "batches.pt")
names = ["faces/z.png", "faces/a.png", "faces/10.png"]
noise = lambda: [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)]
result = lambda latent: {"img": torch.zeros(3, 16, 16), "latent": torch.tensor(latent), "noise": noise()}
torch.save({name: result(codes[i]) for i, name in enumerate(names)}, out / "rosinality_w_plus.pt")
torch.save({name: result(styles[i]) for i, name in enumerate(names)}, out / "rosinality_w.pt")
old = {name: {"img": torch.zeros(3, 16, 16), "latent": torch.tensor(styles[i])} for i, name in enumerate(names)}
torch.save({"noises": noise(), **old}, out / "rosinality_old.pt")
torch.save({"latent": torch.tensor(styles[0]), "img": torch.zeros(3, 16, 16), "noise": noise()}, out / "rosinality_flat.pt")
np.save(out / "rounds_11.npy", {name: rounds(i, 11) for i, name in enumerate(["b.png", "a.png"])})
np.save(out / "rounds_stacked.npy", {name: np.stack(rounds(i, 3)) for i, name in enumerate(["b.png", "a.png"])})
np.save(out / "exstyle_code.npy", {name: codes[i : i + 1] for i, name in enumerate(["b.png", "a.png"])})

# Directions.
expected = {}
boundary, bias = draw(1, 16), np.float32(0.25)
layered = draw(6, 16)
torch.save({"ckpt": "g.pt", "eigvec": torch.tensor(draw(16, 5)).contiguous()}, out / "factor.pt")
expected["factor"] = torch.load(out / "factor.pt")["eigvec"][:, 3].clone()
torch.save({"face": {"age": torch.tensor(boundary), "smile": torch.tensor(boundary[0] * 2)}, "pose": torch.tensor(layered)}, out / "named.pt")
np.savez_compressed(out / "named.npz", age=boundary, pose=layered[None])
np.save(out / "higan.npy", {"name": "age", "boundary": boundary, "bias": np.array([[bias]]), "meta_data": {"manipulate_layers": "2-4"}})
np.save(out / "svm.npy", {"coef_": boundary * 3, "intercept_": np.array([bias])})
torch.save({"age": {"boundary": torch.tensor(boundary), "intercept": torch.tensor(bias)}, "pose": {"boundary": torch.tensor(layered), "intercept": 0.5}}, out / "named_bias.pt")
# As scikit-learn's LinearSVC is pickled, which need not be installed for this.
svc = type("LinearSVC", (), {"__module__": "sklearn.svm._classes"})
for name in ["sklearn", "sklearn.svm", "sklearn.svm._classes"]:
    sys.modules[name] = types.SimpleNamespace(LinearSVC=svc)
model = svc()
model.coef_, model.intercept_, model.classes_ = boundary * 3, np.array([bias]), np.array([0, 1])
(out / "svc.pkl").write_bytes(pickle.dumps(model))
torch.save({"age": torch.tensor(boundary), "age_bias": torch.tensor([bias]), "accuracy": torch.tensor(0.9)}, out / "flat_bias.pt")
torch.save({"codes_of_faces": torch.tensor(codes), "ids": torch.arange(3), "loss": torch.tensor(0.1)}, out / "company.pt")
np.save(out / "zeros.npy", np.zeros((1, 16), np.float32))
np.save(out / "rows.npy", np.concatenate([boundary, draw(3, 16)]))
wide = {"lat_comp": draw(5, 1, 24), "lat_mean": draw(1, 24), "lat_stdev": np.ones(5, np.float32)}
act = {"act_comp": draw(5, 1, 16), "act_mean": draw(1, 16), "act_stdev": np.arange(1, 6, dtype=np.float32)}
np.savez(out / "ganspace_z.npz", **wide, **act, var_ratio=np.ones(5, np.float32))
# As wide as w: the mean tells that its codes were z.
wide = {"lat_comp": draw(5, 1, 16), "lat_mean": draw(1, 16) * 1e-3, "lat_stdev": np.ones(5, np.float32)}
np.savez_compressed(out / "ganspace_zero_mean.npz", **wide, **act)
expected["ganspace_z"] = torch.tensor(act["act_comp"][1, 0] * act["act_stdev"][1])
expected["boundary"], expected["layered"] = torch.tensor(boundary[0]), torch.tensor(layered)
save_file(expected, out / "expected.safetensors")
