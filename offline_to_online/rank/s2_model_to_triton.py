"""Export the ranking model from PyTorch to ONNX and have Triton serve it as a new version of its model.

Industry trains in one framework and serves in another: the exported file is the contract. The ONNX checker has to
accept it, and ONNX Runtime to score rows of zeros as PyTorch does, before Triton loads it. What Triton scores is
compared with PyTorch by the next step, on real candidates.

Reads:  data_exchange_center/offline/ranker.pt, ranker_report.json, feature_spec.json, channels.npz
Writes: data_exchange_center/online/triton/ml_rec/config.pbtxt and ml_rec/<version>/model.onnx; ml_rec_<sizes> when
        ml_rec serves releases with inputs of other sizes; ml_encoder_<channel>-<release>/ for each encoder
Run:    cd offline_to_online/rank && python s2_model_to_triton.py
Expect: MovieLens-1M: input ml_input FP32 [-1, 59] by the source's recipe, at most 256 rows a request; ml_input FP32
        [-1, 16] and ml_history FP32 [1, 40, 3] by the default one; output ml_output
"""

from data_exchange_center import features, release_parts, steps, wire
from data_exchange_center.settings import Settings
from offline_to_online import parity, releases
from offline_to_online.onnx_export import MAX_IR, OPSET, check_onnx, export_onnx
from offline_to_online.stores.triton import TritonStore


def main(settings: Settings) -> None:
    manifest = releases.open_release(settings)
    store = TritonStore(settings)
    store.expect_alive()
    model = parity.read_model(settings.artifacts_dir, manifest)
    sizes = manifest.feature_spec.sizes
    onnx = export_onnx(model, sizes, manifest.release)
    check_onnx(onnx, model, sizes)
    encoders = {
        each.name: each.onnx.tobytes()
        for each in release_parts.read_channels(settings.artifacts_dir).encoded
    }
    place = store.load(manifest.release, onnx, encoders)
    inputs = f"{wire.MODEL_INPUT} FP32 [-1, {sizes.columns}]"
    if sizes.events:
        inputs += (
            f", {wire.MODEL_HISTORY} FP32 [1, {sizes.events}, {len(features.HISTORY)}]"
        )
    print(f"release {manifest.release}: {place} in Triton at {store.address}")
    print(f"  {inputs} -> {wire.MODEL_OUTPUT}")
    print(f"  ONNX opset {OPSET}, IR <= {MAX_IR}, {len(onnx):,} bytes")
    for name, encoder in encoders.items():
        print(
            f"  {wire.encoder_model(name, manifest.release)}: encoder of {name}, {len(encoder):,} bytes"
        )


if __name__ == "__main__":
    steps.run(main, about=__doc__)
