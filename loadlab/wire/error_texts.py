"""What servers say when they fail, and which cause it is: a table, with the source of each text and a near miss that it must not match.

Held against the error field of an answer only, never against generated text. Within a 4xx, which may echo the request, a text counts only
where the message begins with it, names of exceptions aside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from loadlab.record.request import OUTCOME_OF, Cause, Outcome

TABLE_VERSION = 2  # part of every run's manifest: counts of two versions may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorText:
    """One text. `examples` are what servers really say, `near_miss` what sounds like it and means something else."""

    cause: Cause
    pattern: str  # a regular expression, case ignored
    source: str
    examples: tuple[str, ...]
    near_miss: str


ERROR_TEXTS: tuple[ErrorText, ...] = (  # the first that matches decides
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"(CUDA|HIP|XPU|MPS backend|MUSA|NPU) out of memory\b",
        source="PyTorch, c10/cuda/CUDACachingAllocator.cpp and its like for other devices",
        examples=("CUDA out of memory. Tried to allocate 222.00 MiB. GPU 0 has a total capacity of 39.39 GiB",),
        near_miss="cannot run out of memory: CUDA graphs are off",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\btorch(\.cuda)?\.OutOfMemoryError\b",
        source="PyTorch, torch.OutOfMemoryError; torch.cuda.OutOfMemoryError before 2.5",
        examples=("torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory",),
        near_miss="torch.OutOfMemoryErrors are disabled",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\b(CUDA|HIP) error:? out of memory\b|\bcudaErrorMemoryAllocation\b",
        source="CUDA runtime, cudaErrorMemoryAllocation, as PyTorch and ggml print it; seen from Ollama",
        examples=("llama runner process has terminated: CUDA error: out of memory",),
        near_miss="CUDA error: an illegal instruction was encountered",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\bcudaMalloc(Async)?( \w+)? failed: out of memory\b|\bCuda Runtime \(out of memory\)",
        source="ggml-cuda.cu, ggml_backend_cuda_buffer_type_alloc_buffer; TensorRT, defaultAllocator.cpp",
        examples=("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 144.00 MiB on device 4: cudaMalloc failed: out of memory",),
        near_miss="cudaMalloc failed: invalid argument",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\bCUBLAS_STATUS_ALLOC_FAILED\b|\bCUDNN_STATUS_ALLOC_FAILED\b",
        source="cuBLAS and cuDNN documentation, status codes",
        examples=("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",),
        near_miss="CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\bRESOURCE_EXHAUSTED: (Out of memory|XLA:TPU compile permanent error\. Ran out of memory)",
        source="XLA, as JAX servers pass it on",
        examples=("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.",),
        near_miss="RESOURCE_EXHAUSTED: Quota exceeded for requests per minute",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\bFailed to allocate memory for requested buffer of size \d+",
        source="ONNX Runtime, core/framework/bfc_arena.cc, as Triton passes it on",
        examples=("onnx runtime error 6: BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 2830172160",),
        near_miss="Failed to allocate a request slot of size 3",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\bOut of memory even (after retracting all other requests|if there are no other requests)",
        source="SGLang, managers/schedule_batch.py, retract_decode",
        examples=("Out of memory even after retracting all other requests in the decode batch. Please use smaller max_new_tokens.",),
        near_miss="Decode out of memory happened, requests were retracted and go on",
    ),
    ErrorText(
        cause=Cause.OOM_REPORTED,
        pattern=r"\bDefaultCPUAllocator: (can't|not enough memory: you tried to) allocate|\bstd::bad_alloc\b|\bCannot allocate memory\b",
        source="PyTorch, c10/core/impl/alloc_cpu.cpp; C++ standard library; errno ENOMEM",
        examples=("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",),
        near_miss="Cannot allocate a port for the worker",
    ),
    ErrorText(
        cause=Cause.ENGINE_DIED,
        pattern=r"\bEngineCore encountered an issue\b|\bEngineDeadError\b",
        source="vLLM V1, v1/engine/exceptions.py; vllm-project/vllm issue 24495 shows the body",
        examples=(
            "EngineCore encountered an issue. See stack trace (above) for the root cause.",
            "vllm.v1.engine.exceptions.EngineDeadError: the engine has stopped",
        ),
        near_miss="EngineCore is still starting",
    ),
    ErrorText(
        cause=Cause.ENGINE_DIED,
        pattern=r"\bBackground loop (has errored already|is stopped)|\bEngine loop is not running\b",
        source="vLLM V0, engine/async_llm_engine.py and engine/multiprocessing/client.py",
        examples=("Background loop has errored already.",),
        near_miss="Background loop is starting",
    ),
    ErrorText(
        cause=Cause.ENGINE_DIED,
        pattern=r"\bllama runner process (has terminated|no longer running)",
        source="Ollama, llm/server.go",
        examples=("llama runner process has terminated: exit status 2",),
        near_miss="llama runner process is loading the model",
    ),
    ErrorText(
        cause=Cause.ENGINE_DIED,
        pattern=r"\bCUDA error: (an illegal memory access was encountered|device-side assert triggered|unspecified launch failure)",
        source="CUDA runtime API: these errors leave the process in a state in which every later call fails",
        examples=("CUDA error: an illegal memory access was encountered",),
        near_miss="CUDA error: no kernel image is available for execution on the device",
    ),
    ErrorText(
        cause=Cause.ENGINE_DIED,
        pattern=r"\bThe actor died (unexpectedly|because of an error)",
        source="Ray, exceptions.py, RayActorError: vLLM and Ray Serve run their workers as actors",
        examples=("The actor died unexpectedly before finishing this task.",),
        near_miss="The actor is restarting",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"This model's maximum context length is \d+|Requested token count exceeds the model's maximum context length of \d+"
        r"|The (input|decoder prompt) \((length )?\d+( tokens)?\) is longer than the (model's context length|maximum model length)",
        source="OpenAI; vLLM, entrypoints/openai; SGLang, managers/tokenizer_manager.py",
        examples=(
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input tokens",
            "Requested token count exceeds the model's maximum context length of 4096 tokens.",
            "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
            "The decoder prompt (length 3000) is longer than the maximum model length of 2048.",
        ),
        near_miss="This model's maximum batch size is 2048",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"max(_completion|_new)?_tokens=\d+ cannot be greater than max_model_len",
        source="vLLM 0.32, recorded",
        examples=("max_tokens=1000000 cannot be greater than max_model_len=2048. Please request fewer output tokens.",),
        near_miss="max_tokens must be at least 1, got -5.",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"(request \(\d+ tokens\)|the request) exceeds the available context size|Context size has been exceeded",
        source="llama.cpp, tools/server",
        examples=("request (24013 tokens) exceeds the available context size (2048 tokens), try increasing it",),
        near_miss="the request exceeds the number of slots",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"input \(\d+ tokens\) is too large to process",
        source="llama.cpp, tools/server, an embedding longer than the physical batch, with status 500; seen from xllamacpp 2026.10",
        examples=("input (1156 tokens) is too large to process. increase the physical batch size (current batch size: 512)",),
        near_miss="input is empty, nothing to process",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"`inputs` (tokens \+ `max_new_tokens` must be <=|must have less than) \d+",
        source="text-generation-inference, router/src/validation.rs",
        examples=("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",),
        near_miss="Input validation error: `inputs` cannot be empty",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"prompt is too long: \d+ tokens|The input token count \(\d+\) exceeds"
        r"|Prompt contains \d+ tokens\b.{0,80}too large for model"
        r"|Your request exceeded model token limit: \d+|This endpoint's maximum context length is \d+",
        source="Anthropic, Gemini, Mistral, Moonshot and OpenRouter APIs",
        examples=(
            "prompt is too long: 200251 tokens > 200000 maximum",
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
            "Prompt contains 300000 tokens, too large for model with 131072 maximum context length",
            "Your request exceeded model token limit: 262144 (requested: 300000)",
            "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens",
        ),
        near_miss="prompt is too long to be logged",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"Requested input length \d+ exceeds maximum input length \d+|Prompt length \(\d+\) exceeds maximum input length \(\d+\)"
        r"|prompt too long; exceeded (max )?context length",
        source="DeepInfra API; TensorRT-LLM; Ollama",
        examples=(
            "Requested input length 39818 exceeds maximum input length 32767",
            "Prompt length (5000) exceeds maximum input length (4096).",
            "prompt too long; exceeded max context length by 12 tokens",
        ),
        near_miss="Input exceeds maximum input length of 1048576 characters",
    ),
    ErrorText(
        cause=Cause.CONTEXT_LENGTH,
        pattern=r"(litellm\.)?ContextWindowExceededError\b",
        source="LiteLLM, exceptions.py, recorded",
        examples=("litellm.ContextWindowExceededError: litellm.BadRequestError: this is a mock context window exceeded error",),
        near_miss="litellm.BadRequestError: context_window_fallbacks is not a list",
    ),
    ErrorText(
        cause=Cause.KV_EXHAUSTED,
        pattern=r"\bOut of available cache blocks\b|\bno (available|free) (KV|key-value) (cache )?blocks\b",
        source="text-generation-inference, server/text_generation_server/models/flash_causal_lm.py",
        examples=("Request failed during generation: Server error: Out of available cache blocks: asked 107, only 4 free blocks",),
        near_miss="The file cache has no available blocks to write",
    ),
    ErrorText(
        cause=Cause.QUEUE_FULL,
        pattern=r"\bThe request queue is full\b|\b(The )?engine is currently (busy and cannot accept new requests|overloaded)",
        source="SGLang, managers/scheduler.py; vLLM 0.32, recorded; OpenAI, error guide",
        examples=(
            "The request queue is full.",
            "The engine is currently overloaded, please try again later",
            "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
        ),
        near_miss="The request queue is empty",
    ),
    ErrorText(
        cause=Cause.QUEUE_FULL,
        pattern=r"\bModel is overloaded\b|\bserver busy, please try again\.\s+maximum pending requests exceeded\b"
        r"|\bRequest dropped due to backpressure\b",
        source="text-generation-inference (429); Ollama, server/sched.go; Ray Serve",
        examples=(
            "Model is overloaded",
            "server busy, please try again.  maximum pending requests exceeded",
            "Request dropped due to backpressure (num_ongoing_requests=5, max_queued_requests=4).",
        ),
        near_miss="The overloaded method takes no model",
    ),
    ErrorText(
        cause=Cause.NO_REPLICA,
        pattern=r"\bno healthy upstream\b|\bNo server is available to handle this request\b|^Loading model$",
        source="Envoy; HAProxy, errors/503.http; llama.cpp's server while it loads",
        examples=("no healthy upstream", "No server is available to handle this request.", "Loading model"),
        near_miss="Loading model tokenizer failed",
    ),
    ErrorText(
        cause=Cause.FILTERED,
        pattern=r"\bThe response was filtered due to the prompt triggering\b|\bcontent management policy\b",
        source="Azure OpenAI, content filtering",
        examples=("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",),
        near_miss="The response was filtered by the top_k parameter",
    ),
    ErrorText(
        cause=Cause.SERVER_ERROR,
        pattern=r"Request failed during generation\b",
        source="text-generation-inference, router/src/infer, sent with status 424",
        examples=("Request failed during generation: Server error: Value out of range: -29146814772",),
        near_miss="Request failed before generation: bad grammar",
    ),
)

_SAID_BY_US = {cause.value: cause for cause, outcome in OUTCOME_OF.items() if outcome in (Outcome.REJECTED, Outcome.OOM)}
ERROR_KINDS: Mapping[str, Cause] = {  # the error's `type` or `code`
    **_SAID_BY_US,  # the bundled server names its causes
    Cause.ENGINE_DIED.value: Cause.ENGINE_DIED,
    "exceed_context_size_error": Cause.CONTEXT_LENGTH,  # llama.cpp
    "context_length_exceeded": Cause.CONTEXT_LENGTH,  # OpenAI
    "content_filter": Cause.FILTERED,  # Azure OpenAI
    "content_policy_violation": Cause.FILTERED,  # OpenAI
    "overloaded": Cause.QUEUE_FULL,  # text-generation-inference
    "overloaded_error": Cause.QUEUE_FULL,  # Anthropic
    "rate_limit_error": Cause.RATE_LIMITED,  # Anthropic
    "rate_limit_exceeded": Cause.RATE_LIMITED,  # OpenAI
}

PATTERNS = tuple((re.compile(text.pattern, re.IGNORECASE), text.cause) for text in ERROR_TEXTS)
