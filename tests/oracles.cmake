# Comparison with code that nobody here wrote: transformers, tokenizers, NumPy. scripts/test.sh gives
# the interpreter that has them. Real models and tokenizers are compared where ../shared/data exists;
# the scripts say what they left out.
set(KVTUNE_ORACLES_PYTHON "" CACHE FILEPATH "Python with scripts/oracles/requirements.txt")
if(NOT KVTUNE_ORACLES_PYTHON)
  message(STATUS "No KVTUNE_ORACLES_PYTHON: leaving out the oracles")
  return()
endif()

set(oracles "${PROJECT_SOURCE_DIR}/scripts/oracles")
set(shared "${PROJECT_SOURCE_DIR}/../shared/data")

# Model families: what they compute, and what inspect says of published configurations.
add_test(NAME oracle.family_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/family_parity.py" --tool $<TARGET_FILE:oracle_tool>)
add_test(NAME oracle.inspect_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/inspect_parity.py" --kvtune $<TARGET_FILE:kvtune>
    --configs "${shared}/hf_configs")
add_test(NAME oracle.class_defaults
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/class_defaults.py" "${PROJECT_SOURCE_DIR}/lib/core/class_defaults.inc")
add_test(NAME oracle.config_property
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/config_property.py" --kvtune $<TARGET_FILE:kvtune>)
set_tests_properties(oracle.class_defaults oracle.config_property oracle.family_parity oracle.inspect_parity PROPERTIES
  LABELS "torch;oracle" TIMEOUT 1200)

add_test(NAME oracle.logits_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/logits_parity.py" --tool $<TARGET_FILE:oracle_tool>
    "${PROJECT_SOURCE_DIR}/calib_data/demo_model" "${shared}/models/ref-llama" "${shared}/models/stories260K")
add_test(NAME oracle.quantizer_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/quantizer_parity.py" --tool $<TARGET_FILE:oracle_tool>
    --check-table "${PROJECT_SOURCE_DIR}/docs/targets.md")
add_test(NAME oracle.tokenizer_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/tokenizer_parity.py" --kvtune $<TARGET_FILE:kvtune>
    --shared "${shared}")
add_test(NAME oracle.tokenizer_components
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/tokenizer_components.py" --kvtune $<TARGET_FILE:kvtune>)
add_test(NAME oracle.weight_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/weight_parity.py" --tool $<TARGET_FILE:oracle_tool>)
add_test(NAME oracle.chat_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/chat_parity.py" --kvtune $<TARGET_FILE:kvtune> --shared "${shared}")
add_test(NAME oracle.export_parity
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/export_parity.py" --kvtune $<TARGET_FILE:kvtune>)
set_tests_properties(oracle.chat_parity oracle.export_parity oracle.logits_parity oracle.quantizer_parity oracle.tokenizer_components
  oracle.tokenizer_parity oracle.weight_parity PROPERTIES
  LABELS "torch;oracle" TIMEOUT 1200)

# What the gate writes is read by the parser of CI systems' reports; skipped where it is not installed.
add_test(NAME oracle.junit_readback
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${oracles}/junit_readback.py" --kvtune $<TARGET_FILE:kvtune>)
set_tests_properties(oracle.junit_readback PROPERTIES LABELS "torch;oracle" TIMEOUT 300 SKIP_RETURN_CODE 77)

# A serving engine itself, the cheapest: its packages are installed once; skipped where they cannot be.
# The other engines: scripts/check_against_engine.py --engine llama.cpp|transformers.
add_test(NAME oracle.engine_mlx
  COMMAND "${KVTUNE_ORACLES_PYTHON}" -B "${PROJECT_SOURCE_DIR}/scripts/check_against_engine.py" --engine mlx
    --kvtune $<TARGET_FILE:kvtune> --max-prompts 2 --max-prompt-tokens 200)
set_tests_properties(oracle.engine_mlx PROPERTIES LABELS "torch;oracle" TIMEOUT 600 SKIP_RETURN_CODE 77)
