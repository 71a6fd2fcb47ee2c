"""Export the ranking model from PyTorch to ONNX and have Triton serve it as a new version of its model.

Industry trains in one framework and serves in another: the exported file is the contract. It is checked three times,
by the ONNX checker, by ONNX Runtime and through Triton's own gRPC, against PyTorch on real rows.

Reads:  data_exchange_center/offline/ranker.pt, ranker_report.json, feature_spec.json; for the rows, features, user
        states, vectors and channels
Writes: data_exchange_center/online/triton/ml_rec/config.pbtxt and ml_rec/<version>/model.onnx; ml_rec_<width> when
        ml_rec serves releases with another number of columns
Run:    cd offline_to_online/rank && python s2_model_to_triton.py
Expect: MovieLens-1M: input ml_input FP32 [-1, 59] by the source's recipe, [-1, 76] by the default one; output
        ml_output, at most 256 rows a request; scores equal PyTorch's to 5e-6 in ONNX Runtime, to 1e-5 through Triton
"""

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.export.onnx_export import MAX_IR, OPSET, check_onnx, export_onnx
from offline_to_online.manifests import open_release
from offline_to_online.parity.offline_truth import offline_truth
from offline_to_online.stores.triton import ModelContent, TritonStore

ROWS = 1_000


def main(settings: Settings) -> None:
    manifest = open_release(settings)
    store = TritonStore(settings)
    store.check_alive()
    truth = offline_truth(settings.exchange_dir, manifest)
    width, rows = truth.spec.width, truth.sampled_rows(ROWS)
    onnx = export_onnx(truth.model, width, manifest.release)
    exported = check_onnx(onnx, truth.model, rows)
    served = store.sync(manifest, ModelContent(onnx, width, rows, truth.scores(rows)))
    print(f"release {manifest.release}: {served.place} in Triton at {store.address}")
    print(f"  {wire.MODEL_INPUT} FP32 [-1, {width}] -> {wire.MODEL_OUTPUT}, at most {wire.MAX_BATCH} rows a request")
    print(f"  ONNX opset {OPSET}, IR <= {MAX_IR}, {len(onnx):,} bytes; {ROWS:,} rows against PyTorch:")
    print(f"  ONNX Runtime differs by at most {exported:.1e}, Triton over gRPC by at most {served.difference:.1e}")


if __name__ == "__main__":
    run(main)
