#!/usr/bin/env bash
# Measures a random-weight model on a real GPU, calibrates a cluster file on it and predicts a level that nothing was fitted to.
# usage: bash calibration/measure_gpu.sh CLUSTER.toml URL MODEL [OUT]
#
# Before it, on the machine with the GPU, an OpenAI-compatible server with weights of chance (nothing is downloaded but a config.json):
#   vllm serve CONFIG_DIR --load-format dummy --served-model-name MODEL --max-model-len 4096 --port 8000
# CLUSTER.toml says what that is: model, GPU, quantisation, parallel degrees, max_running, max_batched_tokens. Not run by us on a GPU yet.
set -euo pipefail
cluster=${1:?cluster file} url=${2:?http://HOST:PORT} model=${3:?model name of the server} out=${4:-gpu-study}
scenario="$out/chat.toml"
mkdir -p "$out"
serves=$(python3 -c 'import sys, tomllib; print(next(p["serves"][0] for p in tomllib.load(open(sys.argv[1], "rb"))["pools"].values() if p.get("serves")))' "$cluster")
cat > "$scenario" <<TOML
schema = "loadlab/scenario/1"
name = "gpu-study"
slo = { ttft = "1s", target = "99%" }
load = { kind = "open_loop", requests = 2000, arrivals = { kind = "poisson", rate_per_s = 2.0 } }
[classes.chat]
model = "$serves"
prompt_tokens = { kind = "lognormal", median = 400, sigma = 0.8, max = 3000 }
output_tokens = { kind = "lognormal", median = 120, sigma = 0.7, max = 900 }
TOML
# Four levels at 30 to 68 % of saturation, the calibration, and the capacity that follows. Exit code 99: no constants make the file do it.
loadlab capacity "$scenario" --target "$url" --model "$model" --hybrid --cluster "$cluster" --metrics "$url/metrics" --requests 1000 --out "$out/hybrid" --yes
# 80 % of saturation, which nothing was fitted to: measured, and simulated on the calibrated file.
rate=$(python3 -c 'import json, sys; print("%.4g" % (0.8 * json.load(open(sys.argv[1]))["hybrid"]["saturation_per_s"]))' "$out/hybrid/capacity.json")
sed "s/rate_per_s = 2.0 /rate_per_s = $rate /" "$scenario" > "$out/at-80.toml"
loadlab run "$out/at-80.toml" --target "$url" --model "$model" --out "$out/measured" --yes
loadlab run "$out/at-80.toml" --target "sim:$out/hybrid/calibrated.toml" --out "$out/predicted"
loadlab compare "$out/measured" "$out/predicted"
echo "For docs/validation.md: GPU and driver (nvidia-smi), server and version, the commands above, and the table of loadlab compare."
