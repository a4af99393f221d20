# Comparisons with code that nobody here wrote: transformers, tokenizers, NumPy and others. scripts/test.sh
# gives the interpreter that has them. Real models and tokenizers are compared where ../shared/data
# exists; the scripts say what they left out.
set(KVTUNE_ORACLES_PYTHON "" CACHE FILEPATH "Python with scripts/requirements/oracles.txt")
if(NOT KVTUNE_ORACLES_PYTHON)
  message(STATUS "No KVTUNE_ORACLES_PYTHON: leaving out the oracles")
  return()
endif()

set(oracles "${PROJECT_SOURCE_DIR}/scripts/oracles")
set(shared "${PROJECT_SOURCE_DIR}/../shared/data")

# oracle_test(NAME SCRIPT ARGUMENT...): the test oracle.NAME, skipped where the script exits with 77.
#
# Python compiles thousands of files of torch and transformers, which takes it longer than to load them. What it makes of
# them is kept in the build folder for the other oracles, whatever the caller's environment says about it.
function(oracle_test name script)
  add_test(NAME oracle.${name} COMMAND "${KVTUNE_ORACLES_PYTHON}" "${script}" ${ARGN})
  set_tests_properties(oracle.${name} PROPERTIES LABELS "torch;oracle" TIMEOUT 1200 SKIP_RETURN_CODE 77)
  # One thread each: most of their time goes to Python, and so as many run at a time as there are processors.
  kvtune_command_tests(oracle.${name}
    ENVIRONMENT "PYTHONPYCACHEPREFIX=${PROJECT_BINARY_DIR}/python" PYTHONDONTWRITEBYTECODE=)
endfunction()

# Model families: what they compute, and what inspect says of published configurations.
oracle_test(family_parity "${oracles}/family_parity.py" --tool $<TARGET_FILE:oracle_tool>)
oracle_test(inspect_parity "${oracles}/inspect_parity.py" --kvtune $<TARGET_FILE:kvtune>
  --configs "${shared}/hf_configs")
oracle_test(class_defaults "${oracles}/class_defaults.py" "${PROJECT_SOURCE_DIR}/lib/core/class_defaults.inc")
oracle_test(config_property "${oracles}/config_property.py" --kvtune $<TARGET_FILE:kvtune> --count 6)

oracle_test(logits_parity "${oracles}/logits_parity.py" --tool $<TARGET_FILE:oracle_tool>
  "${PROJECT_SOURCE_DIR}/calib_data/demo_model" "${shared}/models/ref-llama" "${shared}/models/stories260K")
oracle_test(generation_parity "${oracles}/generation_parity.py" --tool $<TARGET_FILE:oracle_tool>
  "${PROJECT_SOURCE_DIR}/calib_data/demo_model" "${shared}/models/ref-llama")
# More prompts and larger models by hand, since HQQ takes minutes: --prompts 100.
oracle_test(cache_layer_parity "${oracles}/cache_layer_parity.py" --tool $<TARGET_FILE:oracle_tool>
  --prompts 4 --new-tokens 90 "${PROJECT_SOURCE_DIR}/calib_data/demo_model")
oracle_test(quantizer_parity "${oracles}/quantizer_parity.py" --tool $<TARGET_FILE:oracle_tool>
  --check-table "${PROJECT_SOURCE_DIR}/docs/targets.md")
oracle_test(tokenizer_parity "${oracles}/tokenizer_parity.py" --kvtune $<TARGET_FILE:kvtune> --shared "${shared}")
oracle_test(tokenizer_components "${oracles}/tokenizer_components.py" --kvtune $<TARGET_FILE:kvtune>)
oracle_test(pattern_parity "${oracles}/pattern_parity.py" --kvtune $<TARGET_FILE:kvtune>)
oracle_test(weight_parity "${oracles}/weight_parity.py" --tool $<TARGET_FILE:oracle_tool>)
oracle_test(chat_parity "${oracles}/chat_parity.py" --kvtune $<TARGET_FILE:kvtune> --shared "${shared}")
oracle_test(input_cases "${oracles}/input_cases.py" --kvtune $<TARGET_FILE:kvtune>
  --cases "${PROJECT_SOURCE_DIR}/../shared/cases")
oracle_test(export_parity "${oracles}/export_parity.py" --kvtune $<TARGET_FILE:kvtune>)

# lm-evaluation-harness itself: its packages are installed once, beside torch of the oracles. Skipped where they cannot be.
# It answers one item after another, so larger models are compared by hand.
oracle_test(harness_parity "${oracles}/harness_parity.py" --kvtune $<TARGET_FILE:kvtune>
  "${PROJECT_SOURCE_DIR}/calib_data/demo_model")

# The parser of CI systems' reports reads what the gate writes. Skipped where that parser is not installed.
oracle_test(junit_readback "${oracles}/junit_readback.py" --kvtune $<TARGET_FILE:kvtune>)

# The HTML report in a browser. Skipped where chromium or chromedriver is not installed.
oracle_test(report_in_browser "${oracles}/report_in_browser.py" --kvtune $<TARGET_FILE:kvtune>)

# A serving engine itself, the cheapest one: its packages are installed once. Skipped where they cannot
# be. For the other engines see scripts/check_against_engine.py --engine llama.cpp|transformers.
oracle_test(engine_mlx "${PROJECT_SOURCE_DIR}/scripts/check_against_engine.py" --engine mlx
  --kvtune $<TARGET_FILE:kvtune> --max-prompts 2 --max-prompt-tokens 200)

# Launchers themselves start the processes of a search: torchrun, which comes with the oracles' torch, and Open MPI. With
# --launcher srun the script does the same on a Slurm cluster.
foreach(launcher torchrun mpirun)
  oracle_test(launcher_parity_${launcher} "${oracles}/launcher_parity.py" --launcher ${launcher}
    --kvtune $<TARGET_FILE:kvtune>)
endforeach()
