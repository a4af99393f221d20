# Makes a C++ source of text files: cmake -DOUTPUT=FILE -DHEADER=FILE "-DTEXTS=kName=a.js|b.js;kOther=c.css" -P this.
#
# Each name becomes a std::string_view of namespace kvtune that holds its files one after the other. HEADER declares
# them.
set(source "// Made by cmake/EmbedText.cmake.\n#include \"${HEADER}\"\n\nnamespace kvtune {\n\n")
foreach(entry IN LISTS TEXTS)
  string(REGEX MATCH "^([^=]+)=(.*)$" matched "${entry}")
  set(name "${CMAKE_MATCH_1}")
  string(REPLACE "|" ";" files "${CMAKE_MATCH_2}")
  string(APPEND source "const std::string_view ${name} =")
  foreach(file IN LISTS files)
    file(READ "${file}" text)
    string(APPEND source "\n    R\"=-=(${text})=-=\"")
  endforeach()
  string(APPEND source ";\n\n")
endforeach()
string(APPEND source "}  // namespace kvtune\n")
file(WRITE "${OUTPUT}" "${source}")
