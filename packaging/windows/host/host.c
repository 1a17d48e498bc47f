/* A program of its own name that is this installation's Python with one module: it loads ..\python\pythonNN.dll into its
   own process and runs "-I -X utf8 -m MODULE" with its arguments.

   Why not a script: the service control manager wants to be answered by the very process that it started, and what runs
   should be known by its own name in the task list, in the event log and to the firewall.

   -I: neither PYTHONPATH nor a user's own packages get into what runs as the system. -X utf8: what another program reads
   from us is UTF-8 whatever the code page.

   MODULE and PYTHON_DLL are given by the build. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define LONGEST_PATH 32768
#define CANNOT_LOAD 111
#define OWN_WORDS 6

typedef int (*main_function)(int, wchar_t **);

/* Given room for a path, put there the folder above the one this program lies in, with a backslash; return its length. */
static size_t installation(wchar_t *path) {
    size_t length = GetModuleFileNameW(NULL, path, LONGEST_PATH);
    for (int folders = 0; length > 0; length--)
        if (path[length - 1] == L'\\' && ++folders == 2)
            break;
    path[length] = 0;
    return length;
}

int wmain(int count, wchar_t **words) {
    static wchar_t library[LONGEST_PATH + 64], python[LONGEST_PATH + 64];
    size_t length = installation(library);
    wcscpy(python, library);
    wcscpy(library + length, L"python\\" PYTHON_DLL);
    wcscpy(python + length, L"python\\python.exe");

    /* sys.executable is the plain interpreter, as for a virtual environment's launcher; the module forgets the name. */
    SetEnvironmentVariableW(L"__PYVENV_LAUNCHER__", python);

    HMODULE loaded = LoadLibraryExW(library, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    main_function run = loaded ? (main_function)(void *)GetProcAddress(loaded, "Py_Main") : NULL;
    wchar_t **all = calloc(count + OWN_WORDS, sizeof *all);
    if (!run || !all) {
        fwprintf(stderr, L"tideover: cannot load %ls: error %lu. Install tideover again.\n", library, GetLastError());
        return CANNOT_LOAD;
    }
    wchar_t *own[] = {words[0], L"-I", L"-X", L"utf8", L"-m", MODULE};
    int total = 0;
    for (; total < OWN_WORDS; total++)
        all[total] = own[total];
    for (int word = 1; word < count; word++)
        all[total++] = words[word];
    return run(total, all);
}
