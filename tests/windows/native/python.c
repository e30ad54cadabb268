/* python.exe: hands its arguments to Py_Main of the Python library that lies beside it. PYTHON_DLL comes from the command line. */
#include <stdio.h>
#include <windows.h>

typedef int (*main_function)(int, wchar_t **);

int wmain(int count, wchar_t **arguments) {
    HMODULE library = LoadLibraryW(PYTHON_DLL);
    main_function run = library ? (main_function)GetProcAddress(library, "Py_Main") : NULL;
    if (run == NULL) {
        fprintf(stderr, "cannot load the Python library: error %lu\n", GetLastError());
        return 99;
    }
    return run(count, arguments);
}
