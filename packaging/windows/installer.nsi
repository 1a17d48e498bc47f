; The installer. Made by ./build, which gives SOURCE (the tree to install), OUT, VERSION, NUMBERS and SIZE_KB.
;
;   tideover-VERSION-amd64.exe /S [/D=FOLDER]      silent; exit status 0: installed, and the service runs
;   uninstall.exe /S [/PURGE]                      silent; /PURGE takes configuration, hooks and journal too
;
; An upgrade runs the new installer over the old installation: the agent makes way (prepared applications stay prepared),
; the old files are moved aside and come back if the new ones cannot be put there, and the new agent goes on.

Unicode true
Target amd64-unicode
ManifestSupportedOS all
RequestExecutionLevel admin
SetCompressor /SOLID lzma
!include FileFunc.nsh
!include LogicLib.nsh

!define KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\tideover"

Name "tideover"
OutFile "${OUT}"
InstallDir "$PROGRAMFILES64\tideover"
VIProductVersion "${NUMBERS}"
VIAddVersionKey "ProductName" "tideover"
VIAddVersionKey "FileDescription" "tideover installer"
VIAddVersionKey "FileVersion" "${VERSION}"
VIAddVersionKey "ProductVersion" "${VERSION}"
VIAddVersionKey "LegalCopyright" "Apache-2.0"
ShowInstDetails show
ShowUninstDetails show

Page directory
Page instfiles
UninstPage uninstConfirm
UninstPage instfiles

Var Registered  ; the folder of the installation that is there; "" where there is none
Var Stopped     ; "--stopped" where its service did not run: the owner's wish

Function .onInit
    SetRegView 64
    ; An upgrade goes where the old one is. Only administrators can have written that; a folder that merely looks like an
    ; installation is not registered, and nothing in it is run.
    ReadRegStr $Registered HKLM "${KEY}" "InstallLocation"
    ${If} $Registered != ""
        StrCpy $INSTDIR $Registered
    ${EndIf}
FunctionEnd

; What went wrong stands on the stack. The old installation comes back.
Function GiveUp
    Pop $0
    DetailPrint $0
    SetOutPath "$TEMP"
    ${If} ${FileExists} "$INSTDIR\before\*.*"
        RMDir /r "$INSTDIR\python"
        RMDir /r "$INSTDIR\bin"
        Rename "$INSTDIR\before\python" "$INSTDIR\python"
        Rename "$INSTDIR\before\bin" "$INSTDIR\bin"
        RMDir "$INSTDIR\before"
    ${EndIf}
    ${If} $Stopped == ""
        nsExec::ExecToLog '"$SYSDIR\net.exe" start tideover'
        Pop $1
    ${EndIf}
    SetErrorLevel 3
    Abort $0
FunctionEnd

; A folder that is no registered installation and has something in it is another program's: its rights would be changed, and
; what is called python or bin in it replaced. Nothing has been changed yet.
Function RefuseFullFolder
    ${If} $Registered == $INSTDIR
        Return
    ${EndIf}
    FindFirst $0 $1 "$INSTDIR\*.*"
    ${DoWhile} $1 != ""
        ${If} $1 != "."
        ${AndIf} $1 != ".."
            FindClose $0
            MessageBox MB_OK|MB_ICONSTOP "$INSTDIR is not empty and no installation of tideover. Choose an empty folder, or one that does not exist." /SD IDOK
            SetErrorLevel 3
            Abort "$INSTDIR is not empty and no installation of tideover; nothing was changed."
        ${EndIf}
        FindNext $0 $1
    ${Loop}
    FindClose $0
FunctionEnd

Section "tideover"
    SetRegView 64
    StrCpy $Stopped ""
    Call RefuseFullFolder
    ${If} $Registered == $INSTDIR
    ${AndIf} ${FileExists} "$INSTDIR\python\python.exe"
        nsExec::ExecToLog '"$INSTDIR\python\python.exe" -I -m tideover_setup make-way'
        Pop $0
        ${If} $0 == "10"
            StrCpy $Stopped "--stopped"
        ${ElseIf} $0 != "0"
            nsExec::ExecToLog '"$SYSDIR\net.exe" stop tideover'
            Pop $0
        ${EndIf}
        RMDir /r "$INSTDIR\before"
        CreateDirectory "$INSTDIR\before"
        ClearErrors
        Rename "$INSTDIR\python" "$INSTDIR\before\python"
        ${IfNot} ${Errors}
            Rename "$INSTDIR\bin" "$INSTDIR\before\bin"
        ${EndIf}
        ${If} ${Errors}
            Push "Files of the old version are in use. Close every tideover command, then try again."
            Call GiveUp
        ${EndIf}
    ${EndIf}

    ; What the system runs must be administrators' alone, also where /D names a folder that any user may write to.
    SetOutPath "$INSTDIR"
    nsExec::ExecToLog '"$SYSDIR\icacls.exe" "$INSTDIR" /setowner *S-1-5-32-544 /q'
    Pop $0
    nsExec::ExecToLog '"$SYSDIR\icacls.exe" "$INSTDIR" /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F *S-1-5-32-545:(OI)(CI)RX /q'
    Pop $0
    ${If} $0 != "0"
        Push "The rights of $INSTDIR cannot be set."
        Call GiveUp
    ${EndIf}
    RMDir /r "$INSTDIR\python"
    RMDir /r "$INSTDIR\bin"
    ClearErrors
    File /r "${SOURCE}/*"
    ${If} ${Errors}
        Push "The files cannot be written to $INSTDIR."
        Call GiveUp
    ${EndIf}
    ; Before the service is tried: what is there can be removed, whatever happens next.
    WriteUninstaller "$INSTDIR\uninstall.exe"
    WriteRegStr HKLM "${KEY}" "DisplayName" "tideover"
    WriteRegStr HKLM "${KEY}" "DisplayVersion" "${VERSION}"
    WriteRegStr HKLM "${KEY}" "Publisher" "tideover"
    WriteRegStr HKLM "${KEY}" "InstallLocation" "$INSTDIR"
    WriteRegStr HKLM "${KEY}" "UninstallString" '"$INSTDIR\uninstall.exe"'
    WriteRegStr HKLM "${KEY}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
    WriteRegDWORD HKLM "${KEY}" "EstimatedSize" ${SIZE_KB}
    WriteRegDWORD HKLM "${KEY}" "NoModify" 1
    WriteRegDWORD HKLM "${KEY}" "NoRepair" 1

    ; Compiled here, once: no other user may write beside the files later.
    nsExec::ExecToLog '"$INSTDIR\python\python.exe" -I -m compileall -q "$INSTDIR\python\Lib\site-packages"'
    Pop $0
    nsExec::ExecToLog '"$INSTDIR\python\python.exe" -I -X utf8 -m tideover_setup install $Stopped'
    Pop $0
    ${If} $0 != "0"
        Push "The service cannot be installed or started; its event log (Windows, Application, source tideover) says why."
        Call GiveUp
    ${EndIf}
    RMDir /r "$INSTDIR\before"
SectionEnd

Section "Uninstall"
    SetRegView 64
    ${GetParameters} $0
    ClearErrors
    ${GetOptions} $0 "/PURGE" $1
    StrCpy $2 ""
    ${IfNot} ${Errors}
        StrCpy $2 "--purge"
    ${EndIf}
    nsExec::ExecToLog '"$INSTDIR\python\python.exe" -I -X utf8 -m tideover_setup remove $2'
    Pop $0
    ${If} $0 != "0"
        SetErrorLevel 3
        Abort "The service cannot be stopped or removed; nothing else was removed."
    ${EndIf}
    SetOutPath "$TEMP"
    RMDir /r "$INSTDIR\python"
    RMDir /r "$INSTDIR\bin"
    RMDir /r "$INSTDIR\before"
    Delete "$INSTDIR\LICENSE"
    Delete "$INSTDIR\uninstall.exe"
    RMDir "$INSTDIR"
    DeleteRegKey HKLM "${KEY}"
SectionEnd
