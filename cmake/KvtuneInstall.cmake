# What `cmake --install` puts where. Everything is found relative to the program, so that an installation may be
# moved as a whole:
#
#   PREFIX/bin/kvtune            looks for its libraries in ../lib/kvtune and for its data in ../share/kvtune
#   PREFIX/lib/kvtune/           the files of libtorch that the program needs (component libtorch)
#   PREFIX/share/kvtune/         calib_data/ with the prompts and the demo model, the gate's schema, render_chat.py
#   PREFIX/share/...             man page and completions, where man and the shells look for them
#
# The component libraries is installed on demand only. It copies the Debian libraries that the program needs beside
# libtorch, for archives that are unpacked on other distributions.

# Every build tree has the layout of an installation, by a link. Test programs look there too.
set(data "share/kvtune")
file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/${data}")
file(CREATE_LINK "${PROJECT_SOURCE_DIR}/calib_data" "${PROJECT_BINARY_DIR}/${data}/calib_data" SYMBOLIC)
file(CREATE_LINK "${PROJECT_SOURCE_DIR}/scripts/render_chat.py" "${PROJECT_BINARY_DIR}/${data}/render_chat.py" SYMBOLIC)
if(NOT KVTUNE_WITH_TORCH)
  return()
endif()

# The CUDA flavour of libtorch is 4.6 GB, so it stays where it is unless a copy is asked for.
if(KVTUNE_LINK_CUDA)
  set(copy_by_default OFF)
else()
  set(copy_by_default ON)
endif()
option(KVTUNE_INSTALL_LIBTORCH "Copy libtorch's files into the installation; otherwise it is used where it is" ${copy_by_default})

set(private_libraries "lib/kvtune")
set_target_properties(kvtune PROPERTIES INSTALL_RPATH "$ORIGIN/../${private_libraries}")
if(NOT KVTUNE_INSTALL_LIBTORCH)
  set_property(TARGET kvtune APPEND PROPERTY INSTALL_RPATH "${KVTUNE_TORCH_ROOT}/lib")
endif()
# DT_RPATH instead of DT_RUNPATH: it also serves the libraries of the program's libraries, such as the TBB of pagmo,
# and gives all of them the same libgomp.
target_link_options(kvtune PRIVATE "LINKER:--disable-new-dtags")

install(TARGETS kvtune RUNTIME DESTINATION bin COMPONENT program)

install(DIRECTORY calib_data DESTINATION ${data} COMPONENT program)
install(FILES docs/gate_config.schema.json DESTINATION ${data} COMPONENT program)
install(PROGRAMS scripts/render_chat.py DESTINATION ${data} COMPONENT program)
install(FILES README.md CHANGELOG.md DESTINATION share/doc/kvtune COMPONENT program)
install(FILES LICENSE DESTINATION share/doc/kvtune COMPONENT program)

# The man page and the completions come from the program's own table of commands.
set(generated "${PROJECT_BINARY_DIR}/generated")
file(MAKE_DIRECTORY "${generated}")
set(pages kvtune.1 kvtune.bash _kvtune kvtune.fish)
list(TRANSFORM pages PREPEND "${generated}/")
add_custom_command(OUTPUT ${pages}
  COMMAND kvtune man-page > kvtune.1
  COMMAND kvtune completions bash > kvtune.bash
  COMMAND kvtune completions zsh > _kvtune
  COMMAND kvtune completions fish > kvtune.fish
  DEPENDS kvtune
  WORKING_DIRECTORY "${generated}"
  COMMENT "Writing the man page and the completions")
add_custom_target(kvtune_pages ALL DEPENDS ${pages})
install(FILES "${generated}/kvtune.1" DESTINATION share/man/man1 COMPONENT program)
install(FILES "${generated}/kvtune.bash" DESTINATION share/bash-completion/completions RENAME kvtune COMPONENT program)
install(FILES "${generated}/kvtune.fish" DESTINATION share/fish/vendor_completions.d COMPONENT program)
# Debian's zsh looks in another folder below /usr than zsh's own default.
install(CODE "
  set(folder share/zsh/site-functions)
  if(CMAKE_INSTALL_PREFIX MATCHES \"/usr/?$\")
    set(folder share/zsh/vendor-completions)
  endif()
  file(INSTALL \"${generated}/_kvtune\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/\${folder}\")
" COMPONENT program)

# libtorch and the libraries that its package brings. The program's own link decides which ones are needed.
set(install_libraries "
  set(KVTUNE_PROGRAM \"$<TARGET_FILE:kvtune>\")
  set(KVTUNE_TORCH_ROOT \"${KVTUNE_TORCH_ROOT}\")
  set(KVTUNE_LINK_CUDA \"${KVTUNE_LINK_CUDA}\")
  set(KVTUNE_PRIVATE_LIBRARIES \"${private_libraries}\")
  include(\"${PROJECT_SOURCE_DIR}/cmake/InstallLibraries.cmake\")
")
if(KVTUNE_INSTALL_LIBTORCH)
  install(CODE "${install_libraries} kvtune_install_libtorch()" COMPONENT libtorch)
  set(place "in ${private_libraries} below the prefix")
else()
  set(place "outside of the installation, in ${KVTUNE_TORCH_ROOT}")
endif()
install(CODE "${install_libraries} kvtune_install_system_libraries()" COMPONENT libraries EXCLUDE_FROM_ALL)
install(CODE "message(STATUS \"The program's libtorch is ${place}\")" COMPONENT program)
